"""The clock of PyTorch's side and its line: energy E gradient G seconds S threads T."""

import statistics
import time

import torch


def time_gradient(negative_energy, free, runs):
    """Evaluates and differentiates by the parameter `free`, `runs` times.

    Prints the last energy, the length of its gradient, and the median time.
    """
    seconds = []
    for _ in range(runs):
        free.grad = None
        start = time.perf_counter()
        loss = negative_energy()
        loss.backward()
        seconds.append(time.perf_counter() - start)
    print(
        f"energy {-loss.item():.9g} gradient {free.grad.norm().item():.9g} "
        f"seconds {statistics.median(seconds):.6f} threads {torch.get_num_threads()}"
    )
