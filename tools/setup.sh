#!/usr/bin/env bash
# Makes everything that lisa_ros needs to run and to be tested:
#   tools/setup.sh kilted   .venv/ (all Python packages and the ROS 2 Kilted wheels), build/, install/
#   tools/setup.sh jazzy    .venv-jazzy/ (the ROS 2 Jazzy wheels; all else linked from .venv/), build-jazzy/, install-jazzy/
# Each step is skipped while what it was made from has not changed. A step that was interrupted is done again from its start.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
distro=${1:-kilted}

case $distro in
  kilted) suffix='' ;;
  jazzy) suffix=-jazzy ;;
  *) echo "usage: $0 [kilted|jazzy]" >&2; exit 2 ;;
esac
venv=$root/.venv$suffix build=$root/build$suffix install=$root/install$suffix

# A ROS 2 or a virtual environment that is active in the caller's shell must not leak into this one.
for name in ${!ROS_*} ${!COLCON_*}; do unset "$name"; done
unset AMENT_PREFIX_PATH CMAKE_PREFIX_PATH LD_LIBRARY_PATH PYTHONPATH PYTHONHOME VIRTUAL_ENV _ROS_WHEELS_BOOTSTRAP_COMPLETE

say() { printf '\033[1m==>\033[0m %s\n' "$*" | if [ -t 1 ]; then cat; else sed 's/\x1b\[[0-9]*m//g'; fi; }
fail() { printf 'make setup: ' >&2; printf '%s\n' "$@" >&2; exit 1; }
fingerprint() { cat -- "$@" | sha256sum | cut -d' ' -f1; }

[ "$(uname -m)" = x86_64 ] || fail "expected an x86-64 machine, got $(uname -m): ROS 2 has wheels for no other." \
  "docs/install-robot.md builds the package with ROS 2 from apt."

# --- 1. System packages: look for what they give, not for their names, so that a Python or CMake of one's own is welcome ---
# The interpreter: the one asked for, that of an existing .venv/, or python3.
python=${PYTHON:-$(.venv/bin/python -c 'import sys; print(sys._base_executable)' 2>/dev/null || echo python3)}

has_library() { [[ $libraries == *"$1 "* ]]; }
has_header() {
  "$python" -c 'import os, sysconfig, sys; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))'
}
missing_packages() {
  local name libraries
  libraries=$(PATH=$PATH:/sbin:/usr/sbin ldconfig -p)
  if command -v "$python" >/dev/null; then
    name=$("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
    "$python" -c 'import ensurepip, venv' 2>/dev/null || echo "$name-venv"
    has_header || echo "$name-dev"
  elif [ "$python" = "${python##*/}" ]; then
    echo "$python" "$python-venv" "$python-dev"
  fi
  command -v cmake >/dev/null || echo cmake
  command -v make >/dev/null || echo make
  command -v g++ >/dev/null || echo g++
  command -v git >/dev/null || echo git
  # Open3D's wheel is linked against these.
  has_library libEGL.so.1 || echo libegl1
  has_library libGL.so.1 || echo libgl1
  has_library libgomp.so.1 || echo libgomp1
  has_library libusb-1.0.so.0 || echo libusb-1.0-0
  # The simulated camera renders through EGL, on Mesa where there is no GPU.
  compgen -G '/usr/lib/*/dri/*swrast*' >/dev/null || echo libgl1-mesa-dri
}

install_system_packages() {
  local packages
  packages=$(missing_packages | xargs)
  [ -n "$packages" ] || return 0
  command -v apt-get >/dev/null || fail "this machine lacks what these Debian packages give: $packages"
  if [ "$(id -u)" != 0 ]; then
    fail "system packages are missing. Run this, then call make again:" "  sudo apt-get install --no-install-recommends $packages"
  fi
  say "apt-get install $packages"
  export DEBIAN_FRONTEND=noninteractive
  # shellcheck disable=SC2086
  { apt-get -qq update && apt-get -qq install --no-install-recommends $packages; } </dev/null >"$root/.setup.log" 2>&1 ||
    { tail -n 20 "$root/.setup.log" >&2; fail "apt-get could not install: $packages"; }
}

check_python() {
  local version
  if ! command -v "$python" >/dev/null; then
    [ "$python" = "${python##*/}" ] || fail "there is no '$python'"
    return 0 # a name: install_system_packages brings it
  fi
  version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])') || fail "cannot run '$python'"
  case $version in
    3.10 | 3.11 | 3.12 | 3.13) ;;
    *) fail "'$python' is Python $version, and lisa_ros needs 3.10 to 3.13." \
      "Name another interpreter, for example: PYTHON=python3.12 make setup" ;;
  esac
}

# --- 2. The virtual environment ---
pip_install() { # pip_install FILE...: what pip does goes to a log, and one line of progress to the terminal
  local arguments=() file total log=$venv/pip.log
  for file in "$@"; do arguments+=(-r "$file"); done
  total=$(cat "$@" | grep -c '^[a-z]')
  "$venv/bin/python" -m pip install --no-input --disable-pip-version-check --progress-bar off "${arguments[@]}" </dev/null 2>&1 |
    tee "$log" | awk -v total="$total" -v terminal="$([ -t 1 ] && echo 1 || echo 0)" '
      function show(line) { if (terminal) printf "\r    %-76.76s", line; else print "    " line; fflush() }
      /^Collecting / { if (terminal || ++n % 40 == 0) show(sprintf("%d of at most %d: %s", terminal ? ++n : n, total, $2)) }
      /^ *Downloading .*[0-9]{3}.* MB\)/ { sub(/ *Downloading /, ""); show("downloading " $0) }
      /^Installing collected/ { show("installing ...") }
      END { if (terminal) printf "\r%-80s\r", "" }' ||
    { grep -v '^WARNING' "$log" | tail -n 30 >&2; fail "pip failed; all it said is in $log"; }
}

need_space() { # a disk that fills up on the way fails with messages that do not name it
  local needed free
  needed=$([ "$distro" = jazzy ] && echo 1 || echo 10)
  free=$(df --output=avail -BG "$root" | tail -n 1 | tr -dc 0-9)
  [ "$free" -ge "$needed" ] || fail "$venv needs $needed GB, and $root has $free GB free; make room, or clone elsewhere"
}

write_local_setup() { # makes the virtual environment a ROS underlay, which install/setup.bash then sources by itself
  local shell
  for shell in sh bash zsh; do
    cat >"$venv/local_setup.$shell" <<EOF
case ":\${AMENT_PREFIX_PATH:-}:" in
  *":$venv:"*) ;;
  *) export AMENT_PREFIX_PATH="$venv\${AMENT_PREFIX_PATH:+:\$AMENT_PREFIX_PATH}" ;;
esac
EOF
  done
}

make_venv() {
  local key requirements=("$root/requirements/ros-$distro.txt" "$root/requirements/lock.txt")
  key=$(fingerprint "${requirements[@]}")
  # A changed PYTHON, a moved folder and an interrupted installation all need a new one.
  if [ -e "$venv/.installing" ] || ! "$venv/bin/python" -c 'import sys; sys.exit(sys.prefix != sys.argv[1])' "$venv" 2>/dev/null ||
    { [ -n "${PYTHON:-}" ] && [ "$("$python" -V)" != "$("$venv/bin/python" -V)" ]; }; then
    rm -rf "$venv"
  fi
  [ "$(cat "$venv/.made-from" 2>/dev/null)" != "$key" ] || return 0

  if [ ! -e "$venv" ]; then
    need_space
    say "${venv#"$root"/}: a virtual environment of $("$python" -V)"
    mkdir -p "$venv"
    touch "$venv/.installing"
    "$python" -m venv "$venv"
  fi
  touch "$venv/.installing"
  if [ "$distro" = jazzy ]; then
    "$venv/bin/python" tools/link_packages.py "$root/.venv" requirements/lock.txt
    say 'Python packages: the ROS 2 Jazzy wheels'
    pip_install "${requirements[0]}"
  else
    say 'Python packages: torch, transformers, ... and the ROS 2 Kilted wheels (7 GB; minutes on a new machine)'
    pip_install "${requirements[@]}"
  fi
  write_local_setup
  echo "$key" >"$venv/.made-from"
  rm "$venv/.installing"
}

# --- 3. The package: interfaces, Python modules and the `lisa` command ---
build_package() {
  local interfaces modules
  interfaces=$(fingerprint CMakeLists.txt package.xml cmake/* msg/* srv/* action/* "$venv/.made-from" <("$venv/bin/python" -V; echo "$root"))
  # Files are linked, so an edited one needs no build; a new or a removed one does.
  modules=$({ find lisa_ros scripts config launch rviz -type f ! -name '*.pyc' 2>/dev/null || true; } | LC_ALL=C sort | fingerprint)
  [ "$(cat "$install/.made-from" 2>/dev/null)" != "$interfaces $modules" ] || return 0

  if [ "$(cut -d' ' -f1 "$install/.made-from" 2>/dev/null)" != "$interfaces" ]; then
    rm -rf "$build" "$install"
  else
    find "$install" -xtype l -delete
  fi
  rm -f "$install/.made-from"
  say "colcon build -> ${install#"$root"/}/ (half a minute)"
  mkdir -p "$build"
  (
    # shellcheck disable=SC1091
    . "$venv/bin/activate"
    . "$venv/local_setup.bash"
    colcon --log-base "$build/log" build --symlink-install --build-base "$build" --install-base "$install" \
      --cmake-args -DBUILD_TESTING=OFF -DPython3_FIND_VIRTUALENV=FIRST -DPython3_EXECUTABLE="$venv/bin/python" \
      "-DCMAKE_PROJECT_INCLUDE=$root/cmake/ros_wheels_compat.cmake"
  ) </dev/null >"$build/colcon.log" 2>&1 || { tail -n 40 "$build/colcon.log" >&2; fail "the build failed; all it said is in $build/colcon.log"; }
  echo "$interfaces $modules" >"$install/.made-from"
}

if [ "$distro" = jazzy ]; then
  "$root/tools/setup.sh" kilted
  python=$root/.venv/bin/python PYTHON=$root/.venv/bin/python
else
  check_python
  install_system_packages
  check_python # again: the packages may have brought it
fi
make_venv
build_package
