"""Writes FOLDER/good/*.pt, FOLDER/expected.safetensors and FOLDER/bad/* (tests/golden/torch).

good: one small state dict in all the ways in which torch.save has written such a thing; expected:
its numbers. bad: hostile and damaged files; what is said of each stands in
tests/formats/test_torch_zip.c. Files that would run something would make a file `cbe-was-executed`.
Needs PyTorch and safetensors.

    python3 tests/tools/make_torch_files.py FOLDER
"""

import io
import os
import struct
import sys
import zipfile
from collections import OrderedDict

import torch
from safetensors.torch import save_file

LAYERS, WIDTH = 2, 3


def state_dict():
    lens = torch.nn.ModuleList([torch.nn.Linear(WIDTH, WIDTH) for _ in range(LAYERS)])
    with torch.no_grad():
        for i, parameter in enumerate(lens.parameters()):
            parameter.copy_(
                (torch.arange(parameter.numel()).reshape(parameter.shape) * 3 - 7 * i) / 8
            )
    return lens.state_dict()


def saved(state, **options):
    buffer = io.BytesIO()
    torch.save(state, buffer, **options)
    return buffer.getvalue()


def rewritten(
    data, rename=lambda name: name, drop=(), change=lambda name, content: content, compress=()
):
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            if any(part in name for part in drop):
                continue
            method = (
                zipfile.ZIP_DEFLATED
                if any(part in name for part in compress)
                else zipfile.ZIP_STORED
            )
            new.writestr(zipfile.ZipInfo(rename(name)), change(name, old.read(name)), method)
    return out.getvalue()


def good():
    state = state_dict()
    plain = saved(state)
    weights = {name: value for name, value in state.items()}
    yield "plain", plain
    yield "dict", saved(dict(state))
    for protocol in (3, 4, 5):
        yield f"protocol{protocol}", saved(state, pickle_protocol=protocol)
    yield "parameters", saved({name: torch.nn.Parameter(value) for name, value in state.items()})
    for dtype in (torch.float64, torch.float16, torch.bfloat16):
        yield (
            str(dtype).removeprefix("torch."),
            saved(OrderedDict((k, v.to(dtype)) for k, v in state.items())),
        )
    yield "transposed", saved({k: v.t().contiguous().t() for k, v in weights.items()})
    yield "columns", saved({k: torch.cat([v, v + 1], -1)[..., :WIDTH] for k, v in weights.items()})
    flat, views, at = torch.cat([v.flatten() for v in weights.values()]), {}, 0
    for name, value in weights.items():
        views[name] = flat[at : at + value.numel()].view(value.shape)
        at += value.numel()
    yield "shared", saved(views)
    yield (
        "every_second",
        saved({k: torch.stack([v, v * 0], -1)[..., 0] for k, v in weights.items()}),
    )
    yield "no_byteorder", saved(state, _disable_byteorder_record=True)
    # 1.6 named storages by their address, and wrote neither a byte order nor entries with a dot.
    keys = {str(i): str(94823012000000 + 64 * i) for i in range(2 * LAYERS)}

    def address(name):
        folder, _, key = name.rpartition("/")
        return f"{folder}/{keys[key]}" if folder.endswith("data") else name

    def addresses(name, content):
        for key, new in keys.items():
            content = (
                content.replace(
                    b"X\1\0\0\0" + key.encode() + b"q",
                    b"X" + struct.pack("<I", len(new)) + new.encode() + b"q",
                )
                if name.endswith("data.pkl")
                else content
            )
        return content

    old = saved(OrderedDict(state), pickle_protocol=2)
    # Names of layers look like keys: they are followed by a dot, keys are not.
    yield "pytorch_1_6", rewritten(old, address, ("byteorder", "/."), addresses)
    torch.serialization.set_crc32_options(False)
    yield "no_crc", saved(state)
    torch.serialization.set_crc32_options(True)
    path = os.path.join(sys.argv[1], "good", "lens params.pt")
    torch.save(state, path)
    with open(path, "rb") as file:
        yield "named_after_its_file", file.read()
    os.remove(path)


# A pickle in opcodes.


def number(n):
    return (
        b"J" + struct.pack("<i", n) if -(2**31) <= n < 2**31 else b"\x8a\x08" + struct.pack("<q", n)
    )


def string(text):
    return b"X" + struct.pack("<I", len(text)) + text.encode()


def numbers(*values):
    return b"(" + b"".join(number(n) for n in values) + b"t"


def name(module, what):
    return f"c{module}\n{what}\n".encode()


ORDERED = name("collections", "OrderedDict") + b")R"


def persistent(kind="torch FloatStorage", key=None, elements=9, tag="storage"):
    return (
        b"("
        + string(tag)
        + name(*kind.split())
        + (string("0") if key is None else key)
        + string("cpu")
        + number(elements)
        + b"tQ"
    )


def tensor(storage=None, offset=0, size=(3, 3), stride=(3, 1), hooks=ORDERED, more=b""):
    return (
        name("torch._utils", "_rebuild_tensor_v2")
        + b"("
        + (storage or persistent())
        + number(offset)
        + numbers(*size)
        + numbers(*stride)
        + b"\x89"
        + hooks
        + more
        + b"tR"
    )


def pickle(*parts):
    return b"\x80\x02" + b"".join(parts) + b"."


def state(*values):
    return pickle(b"}(", *values, b"u")


def archive(data, storages=None, byteorder=b"little", extra=(), method=zipfile.ZIP_STORED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr(zipfile.ZipInfo("archive/data.pkl"), data, method)
        if byteorder:
            file.writestr(zipfile.ZipInfo("archive/byteorder"), byteorder)
        for key, content in (
            storages if storages is not None else {"0": struct.pack("<9f", *range(9))}
        ).items():
            file.writestr(zipfile.ZipInfo(f"archive/data/{key}"), content, method)
        for key, content in extra:
            file.writestr(zipfile.ZipInfo(key), content)
        file.writestr(zipfile.ZipInfo("archive/version"), b"3\n")
    return out.getvalue()


def one(value, **options):
    return archive(state(string("0.weight"), value), **options)


COMMAND = "touch cbe-was-executed"


def calls():
    """Whatever runs code, or might."""
    command = b"(" + string(COMMAND) + b"t"
    code = b"(" + string("open('cbe-was-executed', 'w')") + b"t"
    yield "os_system", one(name("os", "system") + command + b"R")
    yield "posix_system", one(name("posix", "system") + command + b"R")
    yield "builtins_eval", one(name("builtins", "eval") + code + b"R")
    yield (
        "builtins_exec_by_stack_global",
        one(string("builtins") + string("exec") + b"\x93" + code + b"R"),
    )
    yield "builtins_getattr", one(name("builtins", "getattr") + b"R")
    yield "python2_builtin", one(name("__builtin__", "eval") + code + b"R")
    yield "subprocess_popen", one(name("subprocess", "Popen") + command + b"R")
    yield "importlib", one(name("importlib", "import_module") + b"(" + string("os") + b"tR")
    yield "runpy", one(name("runpy", "_run_code") + code + b"R")
    yield (
        "dotted_name",
        one(string("collections") + string("OrderedDict.__init__.__globals__") + b"\x93"),
    )
    yield "torch_load", one(name("torch.serialization", "load") + code + b"R")
    yield "torch_hub", one(name("torch.hub", "load") + code + b"R")
    yield "numpy_reconstruct", one(name("numpy.core.multiarray", "_reconstruct") + b")R")
    yield "codecs_encode", one(name("_codecs", "encode") + code + b"R")
    yield "rebuild_tensor_v3", one(name("torch._utils", "_rebuild_tensor_v3") + b")R")
    yield "rebuild_from_type", one(name("torch._tensor", "_rebuild_from_type_v2") + b")R")
    yield "reduce_storage", one(name("torch", "FloatStorage") + numbers(9) + b"R")
    yield "reduce_string", one(string("os.system") + command + b"R")
    yield "reduce_tensor", one(tensor() + command + b"R")
    yield "reduce_no_tuple", one(name("collections", "OrderedDict") + string("x") + b"R")
    yield "ordered_dict_of_items", one(name("collections", "OrderedDict") + command + b"R")
    yield "build_tensor", one(tensor() + b"}b")
    yield "build_dict", one(b"}" + b"}b")
    yield "build_state", one(ORDERED + b"}" + string("__class__") + string("x") + b"sb")
    yield "build_tuple", one(ORDERED + command + b"b")
    yield "inst", one(b"(" + string(COMMAND) + b"ios\nsystem\n")
    yield "obj", one(b"(" + string("x") + string(COMMAND) + b"o")
    yield "newobj", one(name("collections", "OrderedDict") + b")\x81")
    yield "newobj_ex", one(name("collections", "OrderedDict") + b")}\x92")
    yield "ext1", one(b"\x82\x01")
    yield "ext2", one(b"\x83\x01\x00")
    yield "ext4", one(b"\x84\x01\x00\x00\x00")


def opcodes():
    """Opcodes that do nothing bad and have no place in a state dict."""
    yield "persid", one(b"Pstorage\n")
    yield "get", one(b"g0\n")
    yield "dup", one(tensor() + b"2")
    yield "pop", one(tensor() + b"0")
    yield "pop_mark", one(b"(" + b"1")
    yield "list", one(b"]")
    yield "set", one(b"\x8f")
    yield "frozenset", one(b"(\x91")
    yield "float", one(b"G" + struct.pack(">d", 1))
    yield "text_float", one(b"F1.0\n")
    yield "text_integer", one(b"I1\n")
    yield "text_string", one(b"S'x'\n")
    yield "binstring", one(b"T\4\0\0\0text")
    yield "bytes", one(b"C\1x")
    yield "bytearray", one(b"\x96" + struct.pack("<Q", 1) + b"x")
    yield "buffer", one(b"\x97")
    yield "long4", one(b"\x8b\1\0\0\0\1")
    yield "long_unicode", one(b"\x8d" + struct.pack("<Q", 2**63) + b"x")
    yield "unknown_opcode", one(b"\xff")


def machine():
    """Programs that break the machine, not the rules of a state dict."""
    yield "protocol_0", archive(b"(dp0\n.")
    yield "protocol_6", archive(b"\x80\x06}.")
    yield "protocol_later", archive(b"\x80\x02}\x80\x02.")
    yield "empty", archive(b"")
    yield "no_stop", archive(b"\x80\x02}")
    yield "bytes_behind", archive(pickle(b"}") + b"}")
    yield "two_values", archive(pickle(b"}}"))
    yield "no_value", archive(pickle())
    yield "open_mark", archive(pickle(b"}("))
    yield "no_mark", archive(pickle(b"t"))
    yield "underflow", archive(pickle(b"R"))
    yield "underflow_tuple", archive(pickle(b"N\x87"))
    yield "under_the_mark", archive(pickle(name("collections", "OrderedDict"), b")(R"))
    yield "key_alone", archive(pickle(b"}(", string("x"), b"u"))
    yield "items_of_a_tuple", archive(pickle(b")", string("x"), b"Ns"))
    yield "many_marks", archive(pickle(b"(" * 20000))
    yield "nested_tuples", archive(pickle(b"N" + b"\x85" * 20000))
    yield "nested_dicts", one(b"}" + string("x") + (b"}" + string("x")) * 4000 + b"N" + b"s" * 4001)
    yield "doubled_tuples", one(b")" + b"".join(b"q\0h\0\x86" for _ in range(1000)))
    yield "dict_in_itself", archive(pickle(b"}q\0", string("x"), b"h\0s"))
    yield "memo_huge", archive(pickle(b"}r\xff\xff\xff\xff"))
    yield "memo_empty", archive(pickle(b"h\7"))
    yield "memo_of_nothing", archive(pickle(b"q\0"))
    yield "text_too_long", archive(b"\x80\x02X\xff\xff\xff\xffx.")
    yield "text_one_too_long", archive(b"\x80\x02X\2\0\0\0x")
    yield "frame_too_long", archive(b"\x80\x04\x95" + struct.pack("<Q", 2**64 - 1) + b"}.")
    yield "long_of_9_bytes", one(b"\x8a\x09" + bytes(9))
    yield "global_without_end", archive(b"\x80\x02ctorch")
    yield "stack_global_of_numbers", one(number(1) + number(2) + b"\x93")


def storages():
    yield "id_is_text", one(tensor(string("0") + b"Q"))
    yield "id_of_another_tag", one(tensor(persistent(tag="module")))
    yield "id_of_a_function", one(tensor(persistent("torch._utils _rebuild_tensor_v2")))
    yield "id_of_a_number", one(tensor(persistent(key=number(0))))
    yield "id_too_short", one(tensor(b"(" + string("storage") + b"tQ"))
    yield "storage_of_integers", one(tensor(persistent("torch LongStorage")))
    yield "storage_untyped", one(tensor(persistent("torch.storage UntypedStorage")))
    yield "storage_missing", one(tensor(persistent(key=string("1"))))
    yield "storage_of_another_folder", one(tensor(persistent(key=string("../data.pkl"))))
    yield "storage_too_short", one(tensor(), storages={"0": bytes(35)})
    yield "storage_of_doubles_too_short", one(tensor(persistent("torch DoubleStorage")))
    yield "storage_huge", one(tensor(persistent(elements=2**62)))
    yield "storage_negative", one(tensor(persistent(elements=-9)))
    yield "offset_out", one(tensor(offset=1))
    yield "offset_negative", one(tensor(offset=-1))
    yield "offset_huge", one(tensor(offset=2**63 - 1))
    yield "stride_out", one(tensor(stride=(4, 1)))
    yield "stride_negative", one(tensor(stride=(3, -1)))
    yield "stride_overflows", one(tensor(stride=(2**62, 2**62)))
    yield "size_overflows", one(tensor(size=(2**32, 2**32), stride=(0, 0)))
    yield "size_negative", one(tensor(size=(-3, 3)))
    yield "too_many_dimensions", one(tensor(size=(1,) * 9, stride=(1,) * 9))
    yield "strides_too_few", one(tensor(stride=(1,)))
    yield (
        "size_of_text",
        one(
            name("torch._utils", "_rebuild_tensor_v2")
            + b"("
            + persistent()
            + number(0)
            + b"("
            + string("3")
            + b"t"
            + numbers(1)
            + b"\x89"
            + ORDERED
            + b"tR"
        ),
    )
    yield "tensor_of_a_tuple", one(tensor(numbers(0)))
    yield "tensor_without_arguments", one(name("torch._utils", "_rebuild_tensor_v2") + b")R")
    yield "tensor_with_hooks", one(tensor(hooks=b"}" + string("x") + b"Ns"))
    yield "tensor_with_metadata", one(tensor(more=b"}" + string("neg") + b"\x88s"))
    yield (
        "parameter_of_a_string",
        one(
            name("torch._utils", "_rebuild_parameter")
            + b"("
            + string("x")
            + b"\x88"
            + ORDERED
            + b"tR"
        ),
    )
    yield "expanded", one(tensor(size=(4096, 4096), stride=(0, 0)))
    yield (
        "shared_by_many",
        archive(
            state(
                *(
                    string(f"{i}.weight")
                    + tensor(persistent(elements=4096), size=(64, 64), stride=(64, 1))
                    for i in range(10)
                )
            ),
            storages={"0": bytes(4 * 4096)},
        ),
    )
    yield (
        "spread",
        one(
            tensor(persistent(elements=2000), size=(2,), stride=(1999,)),
            storages={"0": bytes(8000)},
        ),
    )
    yield "twice", archive(state(string("0.weight"), tensor(), string("0.weight"), tensor()))
    yield "entry_is_a_number", one(number(1))
    yield "entry_is_a_storage", one(persistent())
    yield "key_is_a_number", archive(state(number(0), tensor()))
    yield "key_with_a_zero", archive(state(string("0.wei\0ght"), tensor()))
    yield "no_dict", archive(pickle(tensor()))


def archives():
    plain = one(tensor())
    yield "not_zip", b"A lens, but not one for this program.\n" * 9
    yield "empty_file", b""
    yield "git_lfs", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    yield "legacy", saved({"0.weight": torch.zeros(3, 3)}, _use_new_zipfile_serialization=False)
    yield "tar", b"pickle".ljust(257, b"\0") + b"ustar" + bytes(250)
    yield "zip_truncated", plain[:-40]
    yield "zip_half", plain[: len(plain) // 2]
    yield "big_endian", one(tensor(), byteorder=b"big")
    yield "no_pickle", rewritten(plain, drop=("data.pkl",))
    yield "two_pickles", one(tensor(), extra=(("other/data.pkl", pickle(b"}")),))
    yield "compressed_storage", rewritten(plain, compress=("data/0",))
    yield (
        "compressed_pickle",
        archive(state(string("0.weight"), b"N" * 3000000), method=zipfile.ZIP_DEFLATED),
    )
    yield (
        "larger_than_its_file",
        plain.replace(struct.pack("<II", 36, 36), struct.pack("<II", 2**30, 2**30)),
    )
    # Three entries of the same 30,000 bytes.
    content = archive(
        state(string("0.weight"), tensor()), storages={"0": bytes(30000), "1": b"", "2": b""}
    )
    directory = content.index(b"PK\1\2")
    head, rest = content[:directory], content[directory:]
    first = content.index(b"PK\3\4", content.index(b"archive/byteorder"))
    sizes = rest[rest.index(b"archive/data/0") - 30 : rest.index(b"archive/data/0") - 18]
    for key in (b"archive/data/1", b"archive/data/2"):
        at = rest.index(key)
        rest = (
            rest[: at - 30] + sizes + rest[at - 18 : at - 4] + struct.pack("<I", first) + rest[at:]
        )
    yield "overlapping", head + rest
    at = plain.index(struct.pack("<9f", *range(9)))
    yield "data_damaged", plain[: at + 4] + b"\x55" + plain[at + 5 :]
    at = plain.index(b"_rebuild")
    yield "pickle_damaged", plain[:at] + b"X" + plain[at + 1 :]


def main():
    folder = sys.argv[1]
    for kind, files in (
        ("good", [good()]),
        ("bad", [calls(), opcodes(), machine(), storages(), archives()]),
    ):
        os.makedirs(os.path.join(folder, kind), exist_ok=True)
        for group in files:
            for what, data in group:
                with open(os.path.join(folder, kind, what + ".pt"), "wb") as file:
                    file.write(data)
    save_file(
        {k: v.contiguous() for k, v in state_dict().items()},
        os.path.join(folder, "expected.safetensors"),
    )


main()
