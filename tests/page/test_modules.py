import subprocess
from pathlib import Path

HERE = Path(__file__).parent


def test_modules_without_a_page_pass_their_own_tests(tool):
    files = sorted(map(str, (HERE / "js").glob("*.test.mjs")))
    done = subprocess.run([tool("node"), "--test", *files], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
