#!/usr/bin/env bash
# Installs the Debian packages that the tests drive, or says exactly which are missing.
set -eu

# program -> Debian package
needs=(
  /usr/sbin/sshd=openssh-server
  /usr/lib/openssh/sftp-server=openssh-sftp-server
  ssh=openssh-client
  chromium=chromium
  asciinema=asciinema
  tmux=tmux
  vim=vim
  node=nodejs
  npm=npm
)

missing=()
for need in "${needs[@]}"; do
  program=${need%%=*} package=${need#*=}
  command -v "$program" >/dev/null 2>&1 || missing+=("$package")
done
# Chromium draws boxes for letters without a font.
fc-list 2>/dev/null | grep -q . || missing+=(fonts-dejavu-core)
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" = 0 ]; then sudo=(); elif sudo -n true 2>/dev/null; then sudo=(sudo); else
  echo "These Debian packages are missing: ${missing[*]}" >&2
  echo "Install them with: apt-get install ${missing[*]}" >&2
  exit 1
fi

echo "installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
if ! { "${sudo[@]}" apt-get update -qq && "${sudo[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >/dev/null; then
  echo "These Debian packages are missing and could not be installed: ${missing[*]}" >&2
  exit 1
fi
