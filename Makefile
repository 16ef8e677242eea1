# make demo    set up, render a small dataset, train on it, test, predict: the results are in demo/
# make test    set up and run the tests
# Further: make test-all (the slow ones too), make test-slow (those of them that CI runs), make test-cpus (as on an AVX2 machine, and on one with AVX-512 for bfloat16), make test-slurm (on a real Slurm: apt-get install slurm-wlm munge; as root), make test-gpu (8 minutes on a GPU: gpu_results/gpu.md), make check (format, lint, types, layers), make docs (the documentation as a site, in build/docs), make clean

KINEMA := .venv/bin/kinema
SAMPLE := demo/sample
RUN := demo/tsm
CLIP := $(SAMPLE)/val/moving_left/moving_left_0001.mp4

# Whole files go to one process each, since tests of a file share what is expensive to make.
PARALLEL := -n auto --maxprocesses 8 --dist loadfile

# What an AVX2 machine computes: limits of oneDNN, torch and numba.
AVX2 := ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 MKL_ENABLE_INSTRUCTIONS=AVX2 NUMBA_CPU_NAME=haswell NUMBA_CPU_FEATURES=

# AVX-512 for bfloat16 without AMX, on processors that have it.
BF16 := $(if $(shell grep -m 1 -w avx512_bf16 /proc/cpuinfo),AVX512_CORE_BF16)

# Where the kind of CPU matters; first what computes most.
COMPUTING := tests/models tests/training tests/recipes tests/tasks tests/weights

.PHONY: demo test test-cpus test-slow test-all test-slurm test-gpu check format docs clean

demo: .venv/ready
	$(KINEMA) prepare sample $(SAMPLE)
	$(KINEMA) train tsm_r18_video_1x1x8_sample_rgb --data.train $(SAMPLE)/train --data.val $(SAMPLE)/val --work-dir $(RUN) --resume
	$(KINEMA) test $(RUN)
	$(KINEMA) predict $(RUN) $(CLIP) --render demo/prediction.mp4
	.venv/bin/python scripts/check_demo.py $(RUN) $(CLIP)
	@echo
	@echo "Look at: $(RUN)/curves.png  $(RUN)/test/confusion.png  demo/prediction.mp4"

test: .venv/ready
	.venv/bin/python -m pytest $(PARALLEL)

test-cpus: .venv/ready
	.venv/bin/python -m benchmarks.cpu_matrix --short --isa AVX2 $(BF16)
	$(AVX2) .venv/bin/python -m pytest -x $(PARALLEL) $(COMPUTING)
	$(if $(BF16),ONEDNN_MAX_CPU_ISA=$(BF16) .venv/bin/python -m pytest -x $(PARALLEL) tests/models)

test-slow: .venv/ready
	.venv/bin/python -m pytest -x -n auto --maxprocesses 8 -m slow tests/training/test_sample.py tests/training/test_resume.py \
	    tests/training/test_outage.py tests/training/test_sharding.py tests/tasks tests/weights tests/docs tests/report/test_loggers.py -k "not motions or 0 or 1"

test-all: .venv/ready
	.venv/bin/python -m pytest -m "" $(PARALLEL)

test-slurm: .venv/ready
	.venv/bin/python -m pytest -m "" tests/slurm

test-gpu: .venv/ready
	.venv/bin/python -m benchmarks.gpu

check: .venv/ready
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports

format: .venv/ready
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

docs: .venv/ready
	.venv/bin/sphinx-build -W --keep-going -b html docs build/docs

clean:
	rm -rf .venv build dist demo

.venv/ready: pyproject.toml constraints.txt scripts/set_up.sh
	bash scripts/set_up.sh
