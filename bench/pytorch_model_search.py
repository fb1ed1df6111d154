"""The original method's search in the whole model by PyTorch, float32: cbe's preset `seed`.

For vector j one start, column j of the identity; the parameter is unconstrained, and its projection
onto the complement of the vectors found, divided by its length, is what is ablated;
torch.optim.LBFGS with a strong-Wolfe line search, its rules as they are. Energy and ablation are
those of pytorch_model_objective.py: in every evaluation the blocks behind the layer run, or with
`whole` all blocks. Prints a line for each vector: layer I vector J energy E evaluations N
seconds S.

usage: pytorch_model_search.py MODEL TOKENS.safetensors LAYER[,LAYER...] VECTORS MAX_ITERATIONS
       SKIP_POSITIONS [whole]
MODEL: a .gguf file or a Hugging Face folder, Llama family
"""

import sys
import time

import torch

from pytorch_model_objective import Objective, load, read_ids


def search_vector(objective, found, j, size, max_iterations):
    """The j-th vector, its energy and how many evaluations it took.

    The energy is the last one evaluated, as in the original.
    """
    eps = torch.finfo(torch.float32).eps
    free = torch.nn.Parameter(torch.eye(size)[j].clone())
    optimiser = torch.optim.LBFGS([free], max_iter=max_iterations, line_search_fn="strong_wolfe")
    last, evaluations = None, 0

    def direction():
        rest = free - found @ (found.T @ free)
        return rest / (rest.norm() + eps)

    def closure():
        nonlocal last, evaluations
        optimiser.zero_grad()
        loss = objective.negative_energy(direction())
        loss.backward()
        last = loss.item()
        evaluations += 1
        return loss

    optimiser.step(closure)
    with torch.no_grad():
        return direction(), -last, evaluations


def main():
    if len(sys.argv) not in (7, 8):
        sys.exit(__doc__)
    model, ids = load(sys.argv[1]), read_ids(sys.argv[2])
    n_vectors, max_iterations, skip = (int(argument) for argument in sys.argv[4:7])
    size = model.config.hidden_size
    for layer in (int(name) for name in sys.argv[3].split(",")):
        objective = Objective(model, ids, layer, skip, whole=sys.argv[7:] == ["whole"])
        found = torch.zeros(size, 0)
        for j in range(n_vectors):
            start = time.perf_counter()
            vector, energy, evaluations = search_vector(objective, found, j, size, max_iterations)
            found = torch.cat([found, vector[:, None]], dim=1)
            seconds = time.perf_counter() - start
            print(
                f"layer {layer} vector {j + 1} energy {energy:.6g} evaluations {evaluations} "
                f"seconds {seconds:.2f}",
                flush=True,
            )
        objective.close()


if __name__ == "__main__":
    main()
