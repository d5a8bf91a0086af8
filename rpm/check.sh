#!/bin/sh
# Examine the packages in the directory $1 and make it a dnf repository: run by `make rpm` in the root `dnf`.
set -eu
into=$1
rpmlint --config rpm/rpmlint.toml "$into"/*.rpm "$into"/source/*.rpm rpm/ocf-lab-agents.spec
# The repository says when each file was made.
for package in "$into"/*.rpm; do
    touch -d "@$(rpm -qp --queryformat '%{BUILDTIME}' "$package")" "$package"
done
createrepo_c --quiet --no-database --excludes 'source/*' --set-timestamp-to-revision --revision 0 "$into"

# Everything that they require is in RHEL 9; and a package that is not there would be missed.
unresolved() {
    dnf --quiet --releasever=9 --setopt=reposdir=/dev/null --setopt=cachedir=/tmp/dnf --repofrompath "ours,file://$into" \
        --repofrompath "rhel9,file://$1" --nogpgcheck repoclosure --check ours
}
sh rpm/standins.sh /tmp/rhel9 3.9
unresolved /tmp/rhel9
for name in lvm2 pacemaker-cli python3 python3-requests python3-urllib3 resource-agents; do
    sh rpm/standins.sh "/tmp/without-$name" 3.9 "$name"
    ! unresolved "/tmp/without-$name" >/tmp/said 2>&1 || { echo "nobody misses $name" >&2; exit 1; }
    grep -q "unresolved deps" /tmp/said || { cat /tmp/said >&2; exit 1; }
done
echo "== every package that ours require is in RHEL 9's list"
