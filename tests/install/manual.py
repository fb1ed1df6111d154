#!/usr/bin/env python3
"""Man pages and completions have what --help has, and their readers find no fault in them.

usage: manual.py CBE FOLDER
FOLDER holds what cbe-manual wrote. groff or man, bash and zsh are asked where they are there;
without both groff and bash the test is skipped.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

SKIPPED = 77
faults = []


def check(right, fault):
    if not right:
        faults.append(fault)


def run(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, **options)


def commands_of(cbe, *parent):
    """Names of the commands that --help lists, those within others too."""
    listed = run(cbe, *parent, "--help").stdout.split("\nCommands:\n")[1].split("\n\n")[0]
    for name in re.findall(r"^  (\S+)", listed, re.MULTILINE):
        command = (*parent, name)
        if "\nCommands:\n" in run(cbe, *command, "--help").stdout:
            yield command, True
            yield from commands_of(cbe, *command)
        else:
            yield command, False


def options_of(cbe, command):
    """The long names of --help and their lines."""
    text = run(cbe, *command, "--help").stdout.split("\nOptions:\n")[1]
    return re.findall(r"^  (?:-\w, |    )(--[\w-]+)", text, re.MULTILINE)


def check_pages(cbe, folder, commands):
    pages = {page.name for page in folder.glob("*.1")}
    wanted = {"cbe.1"} | {"-".join(("cbe", *command)) + ".1" for command, _ in commands}
    check(pages == wanted, f"pages without a command, or the reverse: {sorted(pages ^ wanted)}")
    total = 0
    for command, is_group in commands:
        text = (folder / ("-".join(("cbe", *command)) + ".1")).read_text()
        told = [name.replace("\\-", "-") for name in re.findall(r"\\fB(\\-\\-[\w\\-]+)\\fP", text)]
        options = [] if is_group else options_of(cbe, command)
        total += len(options)
        check(told == options, f"{' '.join(command)}: its page has {told}, --help {options}")
        check("SH SYNOPSIS" in text, f"{' '.join(command)}: no synopsis")
    check(total > 100, f"only {total} options were found")
    print(f"{len(pages)} pages, {total} options")
    return sorted(folder / page for page in pages)


def check_layout(pages):
    for page in pages:
        if shutil.which("groff"):
            done = run("groff", "-man", "-ww", "-Tutf8", "-z", str(page))
            check(done.returncode == 0 and not done.stderr, f"groff: {done.stderr}")
        if shutil.which("man"):
            done = run("man", "--warnings", "-l", str(page))
            check(done.returncode == 0 and not done.stderr, f"man: {done.stderr}")


COMPLETE = """
source "$1"
shift
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_cbe
printf '%s\\n' "${COMPREPLY[@]}"
"""


def complete(script, folder, *words):
    done = run("bash", "-c", COMPLETE, "bash", str(script), "cbe", *words, cwd=folder)
    check(done.returncode == 0 and not done.stderr, f"bash: {words}: {done.stderr}")
    return done.stdout.split()


def check_bash(cbe, folder, commands):
    script = folder / "cbe.bash"
    top = [command[0] for command, _ in commands if len(command) == 1]
    cases = [
        ([""], [*top, "--help", "--version"]),
        (["ex"], ["extract"]),
        (["lens", ""], ["fit", "train", "eval", "convert", "--help"]),
        (["extract", "--abl"], ["--ablation"]),
        (["extract", "m", "--ablation", ""], ["mean", "resample", "zero", "optimal"]),
        (["extract", "m", "-a", "o"], ["optimal"]),
        (["extract", "m", "--ablation", "="], ["mean", "resample", "zero", "optimal"]),
        (["extract", "m", "--ablation", "=", "z"], ["zero"]),
        (["extract", "m", "-l", ""], ["all"]),
        (["extract", "m", "--skip-positions", ""], ["auto"]),
        (["extract", "m", "--vectors", ""], []),
        (["extract", "m", "--text", "cbe-ext"], ["cbe-extract.1"]),
        (["extract", "m", "--text", "a", "cbe-pr"], ["cbe-probe.1"]),
        (["info", "cbe-tok"], ["cbe-tokenize.1"]),
        (["lens", "fit", "m", "--format", ""], ["pt", "safetensors"]),
        (["lens", "train", "m", "--opt"], ["--optimizer"]),
        (["lens", "fit", "m", "-o", "man"], ["manual"]),
        (["lens", "fit", "m", "--output", "cbe-"], []),
        (["no-command", ""], []),
    ]
    for words, want in cases:
        where = folder.parent if "manual" in want else folder
        got = complete(script, where, *words)
        check(sorted(got) == sorted(want), f"cbe {' '.join(words)}: {got}, not {want}")
    for command, is_group in commands:
        if not is_group:
            got = complete(script, folder, *command, "--")
            want = options_of(cbe, command)
            check(got == want, f"cbe {' '.join(command)} --: {got}, not {want}")
    print(f"{len(cases)} lines completed by bash")


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    cbe, folder = sys.argv[1], Path(sys.argv[2])
    commands = list(commands_of(cbe))
    check_layout(check_pages(cbe, folder, commands))
    if shutil.which("bash"):
        check_bash(cbe, folder, commands)
    if shutil.which("zsh"):
        done = run("zsh", "-n", str(folder / "_cbe"))
        check(done.returncode == 0 and not done.stderr, f"zsh: {done.stderr}")
    print("\n".join(faults))
    if faults:
        return 1
    if not shutil.which("groff") or not shutil.which("bash"):
        print("skipped in part: groff or bash is missing")
        return SKIPPED
    return 0


if __name__ == "__main__":
    sys.exit(main())
