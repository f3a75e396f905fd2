#!/usr/bin/env bash
# Installs what the end-to-end tests need and this machine lacks: curl, openssl,
# mosquitto and Ruby's aws-sdk-s3 by apt-get, the AWS CLI and boto3 into the virtual
# environment VENV. What is already there is left alone.
# usage: e2e/install.sh VENV
set -euo pipefail
venv="$1"
awscli=1.45.11
boto3=1.43.11

missing=()
command -v curl >/dev/null || missing+=(curl ca-certificates)
command -v openssl >/dev/null || missing+=(openssl)
command -v jq >/dev/null || missing+=(jq)
command -v mosquitto >/dev/null || [ -x /usr/sbin/mosquitto ] || missing+=(mosquitto)
command -v ruby >/dev/null || missing+=(ruby)
ruby -e 'require "aws-sdk-s3"' 2>/dev/null || missing+=(ruby-aws-sdk-s3)
command -v python3 >/dev/null || missing+=(python3)
python_ok() {
	python3 -c 'import boto3, sys; v = tuple(map(int, boto3.__version__.split("."))); sys.exit(v < (1, 43))' 2>/dev/null &&
		command -v aws >/dev/null && aws --version 2>&1 | grep -q '^aws-cli/1\.'
}
[ -d "$venv" ] && PATH="$venv/bin:$PATH"
needs_venv=
if ! python_ok; then
	needs_venv=yes
	python3 -c 'import venv, ensurepip' 2>/dev/null || missing+=(python3-venv)
fi

if [ ${#missing[@]} -gt 0 ]; then
	command -v apt-get >/dev/null || { echo "e2e: install by hand: ${missing[*]}" >&2; exit 1; }
	root=()
	[ "$(id -u)" = 0 ] || root=(sudo)
	echo "e2e: installing ${missing[*]}"
	"${root[@]}" apt-get update -qq
	DEBIAN_FRONTEND=noninteractive "${root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi
if [ -n "$needs_venv" ]; then
	echo "e2e: awscli $awscli and boto3 $boto3 into $venv"
	python3 -m venv "$venv"
	"$venv/bin/pip" install --quiet "awscli==$awscli" "boto3==$boto3"
fi
