#!/bin/sh
# Puts the pinned ONNX Runtime library into landscape's cache folder, where the program finds it.
#
# usage: scripts/get-onnxruntime.sh [--if-needed]
#
# The library comes from the `onnxruntime` wheel. The ordinary Python package client downloads the
# wheel, whose SHA-256 must be the one beside this script. The library is the same for every
# Python version, so one wheel per platform is pinned. With --if-needed, nothing happens if the
# environment already has a library that the program would use.
set -eu

version=1.32.0
python_tag=cp312
oldest_minor=24
checksums=$(dirname "$0")/onnxruntime-wheels.sha256

fail() {
    echo "get-onnxruntime: $1" >&2
    echo "  help: ${2:-"run \`pip install onnxruntime\` in a Python environment and activate it, or set ORT_DYLIB_PATH to a libonnxruntime of version 1.$oldest_minor or newer"}" >&2
    exit 1
}

# The cache folder of landscape, by the same rule as `cache_folder` in src/evaluate/runtime/places.rs.
cache_folder() {
    case ${LANDSCAPE_CACHE:-} in
    "") ;;
    /*) echo "$LANDSCAPE_CACHE" && return ;;
    *) fail "LANDSCAPE_CACHE is '$LANDSCAPE_CACHE', a relative path, which depends on the working folder" "make it an absolute path" ;;
    esac
    case ${XDG_CACHE_HOME:-} in
    /*) echo "$XDG_CACHE_HOME/landscape" ;;
    *)
        case ${HOME:?is not set, so there is no cache folder; set LANDSCAPE_CACHE} in
        /*) echo "$HOME/.cache/landscape" ;;
        *) fail "HOME is '$HOME', a relative path, which depends on the working folder" "set LANDSCAPE_CACHE to an absolute path" ;;
        esac
        ;;
    esac
}

# Sets wheel_platform and library for this machine.
name_platform() {
    case $(uname -s)-$(uname -m) in
    Linux-x86_64 | Linux-amd64) wheel_platform=manylinux_2_28_x86_64 ;;
    Linux-aarch64 | Linux-arm64) wheel_platform=manylinux_2_28_aarch64 ;;
    Darwin-arm64) wheel_platform=macosx_14_0_arm64 ;;
    *) fail "no ONNX Runtime $version is pinned for $(uname -s) on $(uname -m)" ;;
    esac
    case $wheel_platform in
    macosx*) library=libonnxruntime.$version.dylib ;;
    *) library=libonnxruntime.so.$version ;;
    esac
}

# Whether the active Python environment has a library of version 1.$oldest_minor or newer.
python_has_library() {
    for prefix in "${VIRTUAL_ENV:-}" "${CONDA_PREFIX:-}"; do
        [ -n "$prefix" ] || continue
        for file in "$prefix"/lib/python3*/site-packages/onnxruntime/capi/libonnxruntime.*; do
            minor=$(basename "$file" | sed -n 's/^libonnxruntime\.\(so\.\)\{0,1\}1\.\([0-9]*\)\..*/\2/p')
            [ -f "$file" ] && [ "${minor:-0}" -ge $oldest_minor ] && return 0
        done
    done
    return 1
}

# Prints the first Python package client that runs.
find_pip() {
    for client in "python3 -m pip" "python -m pip" pip3 pip "uvx pip"; do
        if $client --version >/dev/null 2>&1; then
            echo "$client"
            return
        fi
    done
}

# pip_reason LOG: why pip failed. Without a network pip's last line says only that it found nothing.
pip_reason() {
    grep -i -m 1 -e 'connection broken' -e 'timed out' "$1" || grep -m 1 '^ERROR' "$1" || tail -n 1 "$1"
}

# download FOLDER: puts the wheel into FOLDER.
download() {
    pip=$(find_pip)
    [ -n "$pip" ] || fail "no Python package client found (tried python3 -m pip, pip3, pip, uvx pip)" \
        "install pip (Debian, Ubuntu: apt install python3-pip), or set ORT_DYLIB_PATH to a libonnxruntime of version 1.$oldest_minor or newer"
    echo "Fetching ONNX Runtime $version with '$pip' ..." >&2
    # shellcheck disable=SC2086 # the client is a command and its arguments
    PIP_REQUIRE_VIRTUALENV=0 $pip download --no-input --disable-pip-version-check \
        --no-deps --only-binary=:all: --implementation cp --python-version "${python_tag#cp}" \
        --abi "$python_tag" --platform "$wheel_platform" --dest "$1" "onnxruntime==$version" \
        >"$1/log" 2>&1 </dev/null ||
        fail "'$pip' could not download onnxruntime $version: $(pip_reason "$1/log")"
    [ -f "$1/$wheel" ] || fail "'$pip' did not download $wheel"
}

# Prints a file's SHA-256.
sha256() {
    if command -v sha256sum >/dev/null; then
        sha256sum "$1"
    elif command -v shasum >/dev/null; then
        shasum -a 256 "$1"
    else
        openssl dgst -r -sha256 "$1"
    fi | cut -d ' ' -f 1
}

# verify FILE: its checksum must be the pinned one.
verify() {
    expected=$(sed -n "s/^\([0-9a-f]*\)  $wheel\$/\1/p" "$checksums")
    found=$(sha256 "$1")
    [ -n "$expected" ] && [ "$found" = "$expected" ] ||
        fail "$wheel has SHA-256 ${found:-unknown}, but ${expected:-nothing} is pinned in $checksums; nothing was installed" \
            "try again without a proxy or package mirror that changes files"
}

# unpack WHEEL FOLDER: puts the library and its licences into FOLDER.
unpack() {
    set -- "$1" "$2" "onnxruntime/capi/$library" onnxruntime/LICENSE onnxruntime/ThirdPartyNotices.txt
    if command -v unzip >/dev/null; then
        unzip -q -j -o "$1" "$3" "$4" "$5" -d "$2" </dev/null
    else
        python3 -c 'import os, sys, zipfile
archive, folder, *members = sys.argv[1:]
with zipfile.ZipFile(archive) as wheel:
    for member in members:
        with open(os.path.join(folder, os.path.basename(member)), "wb") as file:
            file.write(wheel.read(member))' "$@"
    fi || fail "$wheel could not be unpacked" "install unzip or python3"
}

if [ "${1:-}" = --if-needed ]; then
    if [ -n "${ORT_DYLIB_PATH:-}" ] || python_has_library; then exit 0; fi
elif [ $# -gt 0 ]; then
    fail "unknown argument '$1'" "usage: scripts/get-onnxruntime.sh [--if-needed]"
fi

name_platform
wheel=onnxruntime-$version-$python_tag-$python_tag-$wheel_platform.whl
cache=$(cache_folder)
folder=$cache/onnxruntime-$version
if [ -f "$folder/$library" ]; then
    [ "${1:-}" = --if-needed ] || echo "ONNX Runtime $version is already in $folder"
    exit 0
fi

mkdir -p "$cache" 2>/dev/null || fail "cannot create the folder $cache" "set LANDSCAPE_CACHE to a folder you can write to"
work=$(mktemp -d "$cache/.download-XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
download "$work"
verify "$work/$wheel"
mkdir "$work/unpacked"
unpack "$work/$wheel" "$work/unpacked"
mkdir -p "$folder"
# Each file is renamed into place, the library last. So nobody sees half a library, and two
# simultaneous runs only replace files by equal ones.
mv -f "$work/unpacked/LICENSE" "$work/unpacked/ThirdPartyNotices.txt" "$folder"
mv -f "$work/unpacked/$library" "$folder"
echo "ONNX Runtime $version is in $folder"
