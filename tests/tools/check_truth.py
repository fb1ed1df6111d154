#!/usr/bin/env python3
"""Largest differences between cbe and PyTorch's float64, for every model of tests/golden/models.

`cbe probe --lens model`: both metrics, both scopes, each ablation, strengths, kappa. Beside it, by
truth_values (truth_values.c): second-order energies and M of labels that are given, the
stimulus-response alignment of the logit lens in both scopes, and the ceiling in the model and
through the logit lens.

Own scope is computed by its definition: for each token a run of the whole sequence, in which this
token's state alone is another one, read at the token. Gradients are autograd's. 96 tokens of 6
sequences; resampling is told where no position is skipped, all else where the first of each
sequence is. Numbers are shares of what is allowed: energies 1e-6 + 1e-4 relative, energies of
tokens 2e-5 + 1e-4 relative (logits are float32), gradients 1e-3 of the largest component, kappa
1e-4 relative; second-order energies, mean alignment and ceilings 1e-6 + 1e-4 relative, M 1e-6 +
1e-4 of its largest entry. Exits with 1 if one is above 1.

usage: check_truth.py PROGRAM [MODEL...]          needs torch, transformers, safetensors
PROGRAM is cbe of a build whose tests are built: truth_values lies in tests/ beside it.
"""

import pathlib
import subprocess
import sys
import tempfile

import torch
from float64_model import blocks_of, build, in_float64
from safetensors.torch import load_file, save_file

MODELS = pathlib.Path(__file__).resolve().parents[1] / "golden" / "models"
N_SEQUENCES, LENGTH, RIDGE = 6, 17, 1e-3
STRENGTHS = (0.1, 0.5, 1.25)


def first_of(out):
    return out[0] if isinstance(out, tuple) else out


class Model:
    """A model's clean run, and runs with other states behind a block."""

    def __init__(self, folder):
        weights = {k: v.double() for k, v in load_file(folder / "model.safetensors").items()}
        with in_float64():
            self.model = build_tied(folder, weights)
        self.blocks = blocks_of(self.model)

    def states(self, ids):
        """Logits, and the output of each block."""
        found = []
        hooks = [
            b.register_forward_hook(lambda m, a, out: found.append(first_of(out)))
            for b in self.blocks
        ]
        with in_float64(), torch.no_grad():
            logits = self.model(ids, use_cache=False).logits
        for hook in hooks:
            hook.remove()
        return logits, found

    def logits(self, ids, block, states):
        def put(module, arguments, out):
            return (states, *out[1:]) if isinstance(out, tuple) else states

        hook = self.blocks[block].register_forward_hook(put)
        with in_float64():
            logits = self.model(ids, use_cache=False).logits
        hook.remove()
        return logits


def build_tied(folder, weights):
    """Files leave out what is tied, may name it without the prefix of the class, and gpt_neox has
    embed_out, which newer transformers call lm_head."""
    model = build(folder)
    own = model.state_dict()
    names = {}
    for k in weights:
        candidates = (k, f"{model.base_model_prefix}.{k}", k.replace("embed_out", "lm_head"))
        names[k] = next((name for name in candidates if name in own), k)
    given = {names[k]: v for k, v in weights.items()}
    missing, unexpected = model.load_state_dict(given, strict=False)
    assert not unexpected, unexpected
    model.tie_weights()
    tied = {id(p) for k, p in model.named_parameters(remove_duplicate=False) if k in given}
    for k, p in model.named_parameters(remove_duplicate=False):
        assert k in given or id(p) in tied, k
    return model


def read_write(metric, covariance, v, strength):
    if metric == "euclidean":
        return v, strength * v
    d = len(v)
    s = covariance + RIDGE * covariance.trace() / d * torch.eye(d, dtype=torch.float64)
    values, vectors = torch.linalg.eigh(s)
    root = vectors @ torch.diag(values.sqrt()) @ vectors.T
    inverse = vectors @ torch.diag(values.rsqrt()) @ vectors.T
    return inverse @ v, strength * (root @ v)


def changed_logits(model, ids, block, states, changed, scope):
    """Logits of the model behind changed states, all together or each token alone."""
    if scope == "all":
        return model.logits(ids, block, changed)
    length = ids.shape[1]  # one copy of the sequence for each token
    at = torch.arange(length)
    parts = []
    for b in range(len(ids)):
        copies = torch.where((at[:, None] == at)[:, :, None], changed[b], states[b])
        parts.append(model.logits(ids[b].expand(length, -1), block, copies)[at, at])
    return torch.stack(parts)


def energies(model, ids, clean, block, states, skip, scope, mode, perm, read, write):
    """KL of each token that is not skipped, (N)."""
    d = states.shape[-1]
    rows = states[:, skip:].reshape(-1, d)
    instead = {"mean": lambda: rows.mean(0), "zero": lambda: 0, "resample": lambda: rows[perm]}
    delta = rows - instead[mode]()
    changed = (rows - (delta @ read)[:, None] * write).reshape(len(ids), -1, d)
    changed = torch.cat([states[:, :skip], changed], 1)
    logits = changed_logits(model, ids, block, states, changed, scope)
    p, q = clean[:, skip:].log_softmax(-1), logits[:, skip:].log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1).reshape(-1)


def label_gradients(model, ids, labels, block, states):
    """Gradients in the states of the sum of log-probabilities of the labels, (R, B, S, d)."""
    found = []
    for drawn in labels:
        at = states.clone().requires_grad_()
        log_probs = model.logits(ids, block, at).log_softmax(-1)
        chosen = log_probs.gather(-1, drawn.clamp(min=0)[..., None])[..., 0]
        found.append(torch.autograd.grad(chosen[drawn >= 0].sum(), at)[0])
    return torch.stack(found)


def ceiling(logits, skip):
    """H(mean p) - mean H(p), in nats."""
    log_p = logits[:, skip:].log_softmax(-1).reshape(-1, logits.shape[-1])
    mean = log_p.exp().mean(0)
    return -torch.xlogy(mean, mean).sum() + (log_p.exp() * log_p).sum(-1).mean()


def similarity(p, stimulus, response):
    """Correlation over the vocabulary, weighted by the clean probabilities, of each token."""

    def mean(x):
        return (p * x).sum(-1)

    covariance = mean(stimulus * response) - mean(stimulus) * mean(response)
    variances = [mean(x * x) - mean(x) ** 2 for x in (stimulus, response)]
    return covariance / (variances[0] * variances[1]).sqrt()


class Library:
    """truth_values on one model's tokens, labels, span and directions."""

    def __init__(self, program, folder, path):
        self.tool = pathlib.Path(program).resolve().parent / "tests" / "truth_values"
        self.folder, self.path = folder, path

    def run(self, skip, given):
        save_file(given, f"{self.path}/given")
        files = (self.folder, f"{self.path}/given", f"{self.path}/values.safetensors", skip)
        subprocess.run([self.tool, *map(str, files)], check=True)
        return load_file(files[2])


def check_library(worst, library, model, ids, generator, skip=1, draws=3):
    clean, states = model.states(ids)
    d = states[0].shape[-1]
    labels = torch.randint(clean.shape[-1], (draws, *ids.shape), generator=generator)
    labels[:, :, :skip] = -1
    directions = torch.randn(2, d, generator=generator, dtype=torch.float64)
    directions /= directions.norm(dim=1, keepdim=True)
    span = torch.randn(3, d, generator=generator, dtype=torch.float64)
    given = {"input_ids": ids, "labels": labels, "span": span}
    pairs = []  # of each layer: what is read and written in both metrics
    for i, state in enumerate(states):
        covariance = state[:, skip:].reshape(-1, d).T.cov(correction=0)
        metrics = zip(("euclidean", "covariance"), directions, strict=True)
        pairs.append([read_write(metric, covariance, v, 1) for metric, v in metrics])
        given[f"layers.{i}.read"] = torch.stack([read for read, _ in pairs[i]])
        given[f"layers.{i}.write"] = torch.stack([write for _, write in pairs[i]])
    got = library.run(skip, given)
    last, basis = len(states) - 1, torch.linalg.qr(span.T).Q
    p = clean[:, skip:].softmax(-1)
    for i, state in enumerate(states):
        layer = f"layers.{i}."
        g = label_gradients(model, ids, labels, i, state)[:, :, skip:]
        rows = state[:, skip:]
        delta = rows - rows.mean((0, 1))
        n = rows.shape[0] * rows.shape[1]
        e2 = [
            ((delta @ read) * (g @ write)).sum(-1).square().sum() / (2 * n * draws)
            for read, write in pairs[i]
        ]
        compare(worst, "given labels E2", got[layer + "e2"], torch.stack(e2), 1e-6, 1e-4)
        flat = g.reshape(-1, d)
        m = flat.T @ flat / len(flat)
        compare(worst, "given labels M", got[layer + "M"], m, 1e-6 + 1e-4 * m.abs().max().item(), 0)
        changed = torch.cat([state[:, :skip], rows - delta @ basis @ basis.T], 1)
        with torch.no_grad():
            lens = model.logits(ids, last, state)
            stimulus = (model.logits(ids, last, changed) - lens)[:, skip:]
            for scope in ("all", "own"):
                behind = changed_logits(model, ids, i, state, changed, scope)
                want = similarity(p, stimulus, (behind - clean)[:, skip:]).mean()
                compare(
                    worst, f"alignment {scope}", got[f"{layer}alignment_{scope}"].mean(), want,
                    1e-6, 1e-4,
                )  # fmt: skip
        for name, logits in (("model", clean), ("logit", lens)):
            want = ceiling(logits, skip)[None]
            compare(worst, f"ceiling {name}", got[f"{layer}ceiling_{name}"], want, 1e-6, 1e-4)


class Probe:
    """cbe probe on one model's tokens and directions."""

    def __init__(self, program, folder, path, ids, perm):
        self.program, self.folder, self.path = program, folder, path
        self.tokens = {"input_ids": ids}
        if perm is not None:
            self.tokens["derangement"] = perm

    def run(self, v, *options):
        save_file({"v": v[None].contiguous()}, f"{self.path}/v")
        save_file(self.tokens, f"{self.path}/tokens")
        command = [self.program, "probe", str(self.folder), "-q", "--lens", "model"]
        command += ["--tokens", f"{self.path}/tokens", "--vectors-file", f"{self.path}/v"]
        command += ["-o", f"{self.path}/out.safetensors", *map(str, options)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return load_file(f"{self.path}/out.safetensors")


def share(got, want, absolute, relative):
    return ((got - want).abs() / (absolute + relative * want.abs())).max().item()


def compare(worst, name, got, want, *tolerance):
    worst[name] = max(worst.get(name, 0), share(got, want, *tolerance))


def check(program, folder, path):
    generator = torch.Generator().manual_seed(sum(map(ord, folder.name)))
    model = Model(folder)
    vocabulary = model.model.get_input_embeddings().weight.shape[0]
    ids = torch.randint(vocabulary, (N_SEQUENCES, LENGTH), generator=generator)
    n = ids.numel()
    order = torch.randperm(n, generator=generator)
    perm = torch.empty(n, dtype=torch.int64)
    perm[order] = order.roll(1)  # one cycle
    clean, states = model.states(ids)
    d = states[0].shape[-1]
    directions = torch.randn(2, d, generator=generator, dtype=torch.float64)
    directions /= directions.norm(dim=1, keepdim=True)
    worst = {}
    for metric, direction in zip(("euclidean", "covariance"), directions, strict=True):
        for scope in ("all", "own"):
            for mode in ("mean", "zero", "resample"):
                skip = 0 if mode == "resample" else 1
                strengths = (1, *STRENGTHS) if mode == "mean" else (1,)
                for strength in strengths:
                    probe = Probe(program, folder, path, ids, perm if mode == "resample" else None)
                    got = probe.run(
                        direction, "--metric", metric, "--scope", scope, "--ablation", mode,
                        "--skip-positions", skip, "--strength", strength,
                    )  # fmt: skip
                    for i, state in enumerate(states):
                        v = direction.clone().requires_grad_()
                        covariance = state[:, skip:].reshape(-1, d).T.cov(correction=0)
                        read, write = read_write(metric, covariance, v, strength)
                        tokens = energies(
                            model, ids, clean, i, state, skip, scope, mode, perm, read, write
                        )
                        energy = tokens.mean()
                        (grad,) = torch.autograd.grad(energy, v)
                        name = f"{metric} {scope}"
                        layer = f"layers.{i}."
                        compare(
                            worst, f"{name} energy", got[layer + "energy"], energy[None].detach(),
                            1e-6, 1e-4,
                        )  # fmt: skip
                        compare(
                            worst, f"{name} tokens", got[layer + "energy_per_token"][0],
                            tokens.detach(), 2e-5, 1e-4,
                        )  # fmt: skip
                        compare(
                            worst, f"{name} grad", got[layer + "grad"][0], grad,
                            1e-3 * grad.abs().max().item(), 0,
                        )  # fmt: skip
                        if layer + "kappa" in got:
                            s = covariance + RIDGE * covariance.trace() / d * torch.eye(d)
                            kappa = (direction @ covariance @ direction) * (
                                direction @ torch.linalg.solve(s, direction)
                            )
                            compare(worst, "kappa", got[layer + "kappa"], kappa[None], 0, 1e-4)
    check_library(worst, Library(program, folder, path), model, ids, generator)
    return worst


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__.strip())
    names = sys.argv[2:] or sorted(p.name for p in MODELS.iterdir())
    columns = [
        f"{m} {s} {p}"
        for m in ("euclidean", "covariance")
        for s in ("all", "own")
        for p in ("energy", "tokens", "grad")
    ] + ["kappa", "given labels E2", "given labels M", "alignment all", "alignment own"]
    columns += ["ceiling model", "ceiling logit"]
    bad = False
    print(f"{'':20}" + "".join(f"{c.split()[0][:9]:>11}" for c in columns))
    for k in (1, 2):
        print(f"{'':20}" + "".join(f"{' '.join(c.split()[k : k + 1]):>11}" for c in columns))
    with tempfile.TemporaryDirectory() as path:
        for name in names:
            worst = check(sys.argv[1], MODELS / name, path)
            print(f"{name:20}" + "".join(f"{worst.get(c, float('nan')):11.2g}" for c in columns))
            sys.stdout.flush()
            bad |= any(not x <= 1 for x in worst.values())
    sys.exit(bad)


if __name__ == "__main__":
    main()
