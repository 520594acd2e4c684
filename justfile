# The everyday commands. Each is one line that you can also type yourself; `just` alone lists them.
# They use the environment that the README's second command (or `uv sync`) makes.

python := ".venv/bin/python"
everyday := "not soak and not peers"

set positional-arguments # so that quoted arguments stay whole

_list:
    @just --list --unsorted

# Make .venv and install the checkout into it.
setup:
    python3 -m venv .venv
    {{ python }} -m pip install --quiet -e ".[test]"

# The tests that need nothing unusual: just test -k query -x
test *arguments:
    {{ python }} -m pytest -n 2 -m "{{ everyday }}" "$@"

# Only what runs in milliseconds.
unit *arguments:
    {{ python }} -m pytest -m unit "$@"

# Report style.
lint:
    {{ python }} -m ruff check .
    {{ python }} -m ruff format --check .

# Repair style.
format:
    {{ python }} -m ruff check --fix .
    {{ python }} -m ruff format .

# Strict for the code, standard for tests and demos.
types:
    {{ python }} -m pyright

# Who may import whom.
contracts:
    .venv/bin/lint-imports --no-logo

# The tests with coverage, and its two gates.
cov *arguments:
    {{ python }} -m pytest -n 2 -m "{{ everyday }}" --cov --cov-report= "$@"
    {{ python }} -m coverage report --include="heaven_core/*" --fail-under=95
    {{ python }} -m coverage report --fail-under=90

# The measurements; they print ratios.
bench *arguments:
    {{ python }} -m tests.benchmarks "$@"

# Comparisons with other packages.
peers *arguments:
    {{ python }} -m pytest -m peers -s "$@"

# The long runs, without the time limit.
soak *arguments:
    {{ python }} -m pytest -m soak --timeout=0 "$@"

# The packaging tests alone: entry points, the wheel, the README's commands.
wheel-check:
    {{ python }} -m pytest tests/test_packaging.py

# Run the interactive examples in the pages; 5 is pytest's word for "there are none".
docs:
    {{ python }} -m pytest tests/docs tests/test_readme.py tests/cli/test_docs.py

# Bring docs/reference/ and llms.txt up to date with the code; --check only names what is outdated.
reference *arguments:
    {{ python }} -m tests.docs "$@"

# Bring uv.lock up to date with pyproject.toml, from the public index.
lock:
    uv lock --default-index https://pypi.org/simple

# Everything that CI does.
check:
    .ci/run
