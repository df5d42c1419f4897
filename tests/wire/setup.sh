#!/usr/bin/env bash
# Installs the AWS wire servers of tests/aws_wire.rs into .venv of this repository. Run it once; it
# does nothing when everything is there already.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
venv=$(cd "$here/../.." && pwd)/.venv
stamp=$venv/requirements.installed
if [ -x "$venv/bin/ministack" ] && [ -x "$venv/bin/microburst" ] && [ -x "$venv/bin/cfn-lint" ] && [ -x "$venv/bin/moto_server" ] && cmp -s "$here/requirements.txt" "$stamp"; then
    echo "$venv is up to date"
    exit 0
fi
[ -x "$venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$here/requirements.txt"
cp "$here/requirements.txt" "$stamp"
echo "$venv is ready"
