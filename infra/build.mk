# Included by the Makefile of the layer and of each function. `sam build` runs the target build-<logical id> in the
# source folder and takes what it leaves in ARTIFACTS_DIR.
#
# For AWS: wheels for arm64 and the functions' Python, no compiler and no Docker. CC_BUILD_FOR=host: wheels for this
# machine, for the emulator, which runs this machine's Python whatever the template says.
ROOT := $(realpath $(dir $(lastword $(MAKEFILE_LIST)))..)
PIP := $(ROOT)/.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input --no-compile \
	--no-deps --require-hashes --only-binary=:all: --upgrade
ifneq ($(CC_BUILD_FOR),host)
PIP += --implementation cp --python-version 3.13 \
	--platform manylinux_2_28_aarch64 --platform manylinux_2_17_aarch64 --platform manylinux2014_aarch64
endif

# $(call wheels,folder): what requirements.txt locks, without what a function never reads
define wheels
	if grep -q '^[a-z]' requirements.txt; then $(PIP) --target "$(1)" --requirement requirements.txt; fi
	$(ROOT)/.venv/bin/python $(ROOT)/infra/prune.py "$(1)"
endef
