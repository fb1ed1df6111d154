#!/usr/bin/env python3
"""The installed tree serves: programs are built against it, and compute what cbe computes.

usage: installed.py SOURCE BUILD CMAKE C_COMPILER
Installs BUILD to a temporary folder and moves that, since nothing in it may name a place. Builds
examples/extract.c by pkg-config and by CMake, with the shared and with the static library, and
compares the energies that it prints, to the last bit, with those of `cbe extract`.
"""

import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

SKIPPED = 77
LAYER = 1
VECTORS = 3
FLAGS = ["-std=c17", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]
PROJECT = """
cmake_minimum_required(VERSION 3.25)
project(caller LANGUAGES C)
find_package(cbe 0.1 REQUIRED)
foreach(library cbe cbe-static)
    add_executable(with-${library} extract.c)
    target_link_libraries(with-${library} PRIVATE cbe::${library})
endforeach()
"""


def run(*command, **options):
    options = {"check": True, "capture_output": True, **options}
    try:
        return subprocess.run([str(word) for word in command], **options).stdout
    except subprocess.CalledProcessError as error:
        sys.exit(f"{error}\n{error.stdout.decode()}{error.stderr.decode()}")


def read_tensors(path):
    """Shapes and bytes of a safetensors file."""
    data = Path(path).read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + size])
    header.pop("__metadata__", None)
    return {
        name: (t["shape"], data[8 + size + t["data_offsets"][0] : 8 + size + t["data_offsets"][1]])
        for name, t in header.items()
    }


def read_energies(folder):
    """Those of basis.json, which are float64; basis.safetensors has the same in float32."""
    record = json.loads((folder / "basis.json").read_text())
    energies = [vector["energy"] for vector in record["layers"][0]["vectors"]]
    rounded = read_tensors(folder / "basis.safetensors")[f"layers.{LAYER}.energies"][1]
    if rounded != struct.pack(f"<{len(energies)}f", *energies):
        sys.exit(f"{folder}: basis.safetensors and basis.json have different energies")
    return energies


def install(cmake, build, scratch):
    first, prefix = scratch / "first", scratch / "moved"
    run(cmake, "--install", build, "--prefix", first)
    first.rename(prefix)
    return prefix


def find_one(prefix, pattern):
    found = list(prefix.glob(pattern))
    if len(found) != 1:
        sys.exit(f"{pattern} in the installed tree: {found}")
    return found[0]


def check_files(prefix, source):
    for pattern in [
        "bin/cbe",
        "lib/**/libcbe.a",
        "lib/**/libcbe.so",
        "lib/**/libcbe.so.0",
        "lib/**/cbe.pc",
        "lib/**/cbeConfig.cmake",
        "lib/**/cbeConfigVersion.cmake",
        "lib/**/cbeTargets.cmake",
        "share/man/man1/cbe.1",
        "share/man/man1/cbe-extract.1",
        "share/man/man1/cbe-lens-fit.1",
        "share/bash-completion/completions/cbe",
        "share/zsh/site-functions/_cbe",
        "share/doc/cbe/README.md",
        "share/doc/cbe/LICENSE",
    ]:
        find_one(prefix, pattern)
    headers = {path.name for path in source.glob("include/cbe/*.h")}
    installed = {path.name for path in prefix.glob("include/cbe/*.h")}
    if headers != installed or not headers:
        sys.exit(f"headers installed: {sorted(installed)}, not {sorted(headers)}")
    named = find_one(prefix, "lib/**/libcbe.so.0.1.0")
    for link in ["libcbe.so", "libcbe.so.0"]:
        if (named.parent / link).resolve() != named:
            sys.exit(f"{link} does not lead to {named.name}")
    if b"libcbe.so.0" not in run("readelf", "-d", named).split(b"SONAME")[1].split(b"\n")[0]:
        sys.exit("the library's SONAME is not libcbe.so.0")
    for path in [*prefix.glob("lib/**/*.cmake"), *prefix.glob("lib/**/*.pc")]:
        if str(prefix.parent) in path.read_text() or str(source) in path.read_text():
            sys.exit(f"{path.name} names a place")


def build_by_pkg_config(prefix, source, compiler, scratch):
    pc = find_one(prefix, "lib/**/cbe.pc").parent
    environment = {**os.environ, "PKG_CONFIG_PATH": str(pc)}
    for name, options in [("shared", []), ("static", ["--static"])]:
        words = run("pkg-config", *options, "--cflags", "--libs", "cbe", env=environment)
        words = words.decode().split()
        if name == "static":
            words = ["-l:libcbe.a" if word == "-lcbe" else word for word in words]
        program = scratch / f"pkg-config-{name}"
        run(compiler, *FLAGS, source / "examples/extract.c", *words, "-o", program)
        yield program, name == "shared"


def build_by_cmake(prefix, source, cmake, compiler, scratch):
    project, build = scratch / "project", scratch / "project/build"
    project.mkdir()
    (project / "CMakeLists.txt").write_text(PROJECT)
    shutil.copy(source / "examples/extract.c", project)
    run(
        cmake,
        *["-S", project, "-B", build],
        f"-DCMAKE_C_COMPILER={compiler}",
        f"-DCMAKE_PREFIX_PATH={prefix}",
        f"-DCMAKE_C_FLAGS={' '.join(FLAGS)}",
    )
    run(cmake, "--build", build)
    yield build / "with-cbe", True
    yield build / "with-cbe-static", False


def check_program(program, is_shared, prefix, case, want, scratch):
    library = find_one(prefix, "lib/**/libcbe.so.0").parent
    environment = {**os.environ, "LD_LIBRARY_PATH": str(library)}
    linked = b"libcbe.so.0 => " + str(library).encode() in run("ldd", program, env=environment)
    if linked != is_shared:
        sys.exit(f"{program.name} is linked with {'libcbe.so' if linked else 'libcbe.a'}")
    shape, states = read_tensors(case / "hidden.safetensors")[f"hidden_states.{LAYER}"]
    out = scratch / f"{program.name}-out"
    printed = run(
        program,
        *[*shape, LAYER, case / "decoder.safetensors", out],
        input=states,
        env=environment,
    ).decode()
    lines = "".join(f"vector {j}: {energy:.17g} nats\n" for j, energy in enumerate(want))
    if printed != lines:
        sys.exit(f"{program.name} printed\n{printed}where cbe extract has\n{lines}")
    if read_energies(out) != want:
        sys.exit(f"{program.name} saved {read_energies(out)}, cbe extract {want}")


def main():
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    source, build, cmake, compiler = Path(sys.argv[1]), *sys.argv[2:]
    if not shutil.which("pkg-config"):
        print("skipped: there is no pkg-config")
        return SKIPPED
    case = source / "tests/golden/extract/rmsnorm-logit"
    with tempfile.TemporaryDirectory(prefix="cbe-test-") as folder:
        scratch = Path(folder)
        prefix = install(cmake, build, scratch)
        check_files(prefix, source)
        run(
            prefix / "bin/cbe",
            *["extract", "--hidden-states", case / "hidden.safetensors"],
            *["--decoder", case / "decoder.safetensors"],
            *["-k", VECTORS, "-l", LAYER, "-o", scratch / "cbe-out", "-q"],
        )
        want = read_energies(scratch / "cbe-out")
        if len(want) != VECTORS or not want[0] > 0.01:
            sys.exit(f"cbe extract: energies {want}")
        programs = [
            *build_by_pkg_config(prefix, source, compiler, scratch),
            *build_by_cmake(prefix, source, cmake, compiler, scratch),
        ]
        for program, is_shared in programs:
            check_program(program, is_shared, prefix, case, want, scratch)
        print(f"{len(programs)} programs, energies {', '.join(f'{e:.17g}' for e in want)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
