#!/usr/bin/env bash
# Removes what setup made: build folders, .venv, and arfc's folder in the user's cache directory.
#
# Distribution packages stay, because other programs may need them by now; the line that removes the
# ones that setup installed is printed. So do the results of the demo, which are the user's.
set -euo pipefail
# shellcheck source=messages.sh
. "$(dirname "${BASH_SOURCE[0]}")/messages.sh"

packages=
if [ -f "$cache/installed-packages" ]; then
    packages=$(sort -u "$cache/installed-packages" | tr '\n' ' ')
fi
for folder in "$project/build" "$project/dist" "$project/.venv" "$cache"; do
    if [ -e "$folder" ]; then
        say "Removing $folder ($(du -sh "$folder" 2>/dev/null | cut -f 1))"
        rm -rf "$folder"
    fi
done
if [ -n "$packages" ]; then
    say "Setup also installed distribution packages. This line removes them:"
    say "    sudo apt-get remove --autoremove $packages"
fi
if [ -e "$project/demo-output" ]; then
    say "The demo's results stay: $project/demo-output"
fi
