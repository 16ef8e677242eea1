#!/usr/bin/env bash
# Makes .venv with Kinema and its tools in it, and installs FFmpeg's libraries where that is possible; all works without.
# usage: scripts/set_up.sh          (PYTHON=/path/to/python chooses the interpreter)
set -euo pipefail
cd "$(dirname "$0")/.."

find_python() {
  local candidate
  for candidate in "${PYTHON:-}" python3 python3.14 python3.13 python3.12 python3.11; do
    if [ -n "$candidate" ] && command -v "$candidate" >/dev/null &&
      "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  echo "No Python 3.11 or newer with its venv module was found (on Debian and Ubuntu: apt-get install python3-venv)." >&2
  echo "If there is one elsewhere: make PYTHON=/path/to/python" >&2
  return 1
}

# The option --data.reader torchcodec needs FFmpeg's libraries, versions 4 to 9. PyAV, the default, brings its own.
have_ffmpeg() {
  .venv/bin/python -c 'from kinema.data.readers.sources import reader_in_use; reader_in_use("torchcodec")' 2>/dev/null
}

install_ffmpeg() {
  local as_root=""
  if [ "$(id -u)" != 0 ]; then
    if [ "$(uname)" = Linux ] && ! sudo -n true 2>/dev/null; then return 1; fi
    as_root="sudo -n"
  fi
  if command -v brew >/dev/null; then
    brew install ffmpeg
  elif command -v apt-get >/dev/null; then
    $as_root apt-get update -qq && $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq ffmpeg
  else
    return 1
  fi >.venv/ffmpeg_install.log 2>&1 </dev/null
}

if [ ! -x .venv/bin/python ]; then
  "$(find_python)" -m venv .venv
fi
echo "Installing Kinema and its dependencies into .venv (several minutes and 6 GB the first time)"
.venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
if have_ffmpeg || { install_ffmpeg && have_ffmpeg; }; then
  echo "Videos are decoded by PyAV; --data.reader torchcodec works too."
else
  echo "Videos are decoded by PyAV, the default and the faster one. --data.reader torchcodec is not available here:"
  echo "it needs FFmpeg's libraries, which could not be installed (apt-get install ffmpeg, as root)."
fi
touch .venv/ready
