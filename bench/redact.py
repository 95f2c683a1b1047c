"""Uploading lines of text with and without redaction: 20 rules, and no line has a secret or every tenth."""

import json
from contextlib import ExitStack
from pathlib import Path

from bench.tools import MIB, ask, loom, median, ratio, scratch, show, transfer_options
from bench.upload import Measured, measured

PATTERNS = ["ghp_[A-Za-z0-9]{36}", "AKIA[0-9A-Z]{16}", r"password=\S+", "xox[bp]-[0-9A-Za-z-]{10,80}"]
LITERALS = [f"literal-secret-{number:02}-abcdef" for number in range(16)]
RULES = [{"prefix": "redacted/", "literals": LITERALS, "patterns": PATTERNS}]


def text_file(path: Path, size: int, *, secrets: bool) -> Path:
    """Write lines of a build's output, every tenth with a secret if wanted."""
    plain = "".join(
        f"2026-01-01T00:00:0{n} INFO module.of.a.program: compiled file {n} in 12 ms\n" for n in range(9)
    )
    tenth = f"curl -u user:{LITERALS[3]} https://host/\n" if secrets else "curl https://host/path/of/a/file\n"
    block = (plain + tenth).encode()
    path.write_bytes((block * (size // len(block) + 1))[:size])
    return path


def main() -> None:
    """Run the benchmark."""
    options = transfer_options(__doc__, mib=512, rounds=3)
    size = options.mib * MIB
    with ExitStack() as stack:
        directory = stack.enter_context(scratch())
        plain = text_file(directory / "plain", size, secrets=False)
        secret = text_file(directory / "secret", size, secrets=True)
        server = stack.enter_context(loom(directory / "data", f"--redact={json.dumps(RULES)}"))
        cases = {
            "Loom": ("open/1", plain),
            "Loom, 20 rules, no secret": ("redacted/1", plain),
            "Loom, 20 rules, every tenth line": ("redacted/2", secret),
        }
        results: dict[str, list[Measured]] = {name: [] for name in cases}
        for _ in range(options.rounds):
            for name, (id, source) in cases.items():

                def post(id: str = id, source: Path = source) -> None:
                    answer = ask(server.port, "POST", f"/stream/{id}?force=true", file=source)
                    assert b"\r\nupload-complete: ?1\r\n" in answer, "cut"

                results[name].append(measured(server, post))
        rows = []
        base = [median(values) for values in zip(*results["Loom"], strict=True)]
        for name, found in results.items():
            wall, cpu = (median(values) for values in zip(*found, strict=True))
            rates = (
                f"{options.mib / wall:.0f} MiB/s",
                ratio(wall, base[0]),
                f"{cpu:.2f} s",
                ratio(cpu, base[1]),
            )
            rows.append((name, *rates))
        show(
            f"{options.mib} MiB of lines in one request, {options.rounds} rounds",
            ("", "rate", "time / without", "CPU", "CPU / without"),
            rows,
        )


if __name__ == "__main__":
    main()
