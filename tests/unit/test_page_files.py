from loom.http.pages import TEXTS, Pages, modules_of


def test_imports_are_found_to_the_last_one():
    texts = {
        "a.js": 'import { b } from "./b.js";\n',
        "b.js": 'import "./c.js";\nimport "./a.js";\n',
        "c.js": "",
    }
    assert modules_of("a.js", texts) == ["a.js", "b.js", "c.js"]
    every = {name for name in TEXTS if name.endswith(".js")}
    pages = [name.replace(".html", ".js") for name in TEXTS if name.endswith(".html")]
    assert every == {module for page in pages for module in modules_of(page, TEXTS)}


def test_another_release_has_other_addresses():
    changed = {**TEXTS, "dom.js": TEXTS["dom.js"] + "\n"}
    assert Pages()._folder != Pages(changed)._folder
