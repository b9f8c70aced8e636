# lisa_ros: `make` lists what it can do. PYTHON=python3.12 selects the interpreter of a new .venv.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup test lint format demo lock clean test-jazzy gpu-check tiny-model

# Recipes run as a user would: in the virtual environment, with the built package sourced. colcon's files read unset variables.
# A ROS 2 that is sourced in the caller's shell must not come in: its rclpy would load this one's messages.
IN = unset ROS_DISTRO ROS_VERSION ROS_PYTHON_VERSION RMW_IMPLEMENTATION AMENT_PREFIX_PATH CMAKE_PREFIX_PATH COLCON_PREFIX_PATH \
	LD_LIBRARY_PATH PYTHONPATH PYTHONHOME; set +u; source .venv/bin/activate; source install/setup.bash; set -u;

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

setup: ## install what is missing, make .venv/ and install/
	@tools/setup.sh

test: setup lint ## all tests and checks
	@$(IN) python -m pytest

test-jazzy: ## the tests that need ROS 2, against Jazzy instead of Kilted
	@tools/setup.sh jazzy
	@$(subst install,install-jazzy,$(subst .venv,.venv-jazzy,$(IN))) python -m pytest -m ros

gpu-check: ## what needs a CUDA GPU: parity, and the worker with the shapes of LISA-7B (no ROS, no make setup needed)
	@PYTHONPATH=.$${PYTHONPATH:+:$$PYTHONPATH} python3 -m pytest -m gpu test/gpu

lint: setup ## ruff, mypy and the layers of the packages
	@$(IN) ruff check . && ruff format --check --quiet . && mypy && lint-imports --no-logo

format: setup ## let ruff mend what it can
	@$(IN) ruff check --fix . && ruff format .

demo: setup ## a simulated camera, the perception node, five questions; pictures and clouds lie in demo/
	@$(IN) python -m lisa_ros.nodes.demo

# PyTorch's large buffers come and go each step; glibc would give each back to the kernel and ask for it anew.
KEEP_MEMORY = MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000 MALLOC_TOP_PAD_=67108864

tiny-model: setup ## train the small model from nothing into training/tiny-model: hours on two CPU cores
	@$(IN) $(KEEP_MEMORY) python -m lisa_ros.training.tiny_model training/tiny-model

lock: ## resolve requirements/*.txt anew, from pyproject.toml and requirements/*.in
	@test -x build/uv/bin/uv || { python3 -m venv build/uv && build/uv/bin/pip install --quiet uv; }
	@compile="build/uv/bin/uv pip compile --quiet --upgrade --universal --python-version 3.10 --no-annotate --no-header"; \
	$$compile pyproject.toml --extra headless --extra quantization --extra sim --extra training --extra dev -c requirements/pins.in -o requirements/lock.txt; \
	for distro in kilted jazzy; do \
		$$compile requirements/ros-$$distro.in -c requirements/lock.txt -o requirements/ros-$$distro.txt; \
	done; \
	sed -i -e "s/ ; sys_platform == 'linux'$$//" -e "s/ and sys_platform == 'linux'$$//" requirements/*.txt

clean: ## remove what was built; .venv/ stays
	@rm -rf build build-jazzy install install-jazzy log demo .mypy_cache .ruff_cache .pytest_cache
