#!/bin/sh
# Examine the packages in the directory $1 and make it a dnf repository: run by `make rpm` in the root `dnf`.
set -eu
into=$1
rpmlint --config rpm/rpmlint.toml "$into"/*.rpm "$into"/source/*.rpm rpm/ocf-lab-agents.spec
createrepo_c --quiet --no-database --excludes 'source/*' --set-timestamp-to-revision --revision 0 "$into"
