#!/bin/sh
# Build the RPMs into the directory $1, which is emptied: run in a root that has no network, and for the Python that the root has.
#
#   rpm/build.sh INTO           the last commit, built twice and compared, with all that looks at it: `make rpm`
#   rpm/build.sh --work INTO    the work tree as it is, once and without tests: the lab's nodes, and tests of the packages
set -eu
work=
[ "$1" != --work ] || { work=yes; shift; }
into=$1
spec=rpm/ocf-lab-agents.spec
version=$(sed -n 's/^Version: *//p' $spec)
name=ocf-lab-agents-$version
top=/tmp/rpmbuild
python=$(/usr/bin/python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
mkdir -p "$into"
rm -rf "${into:?}"/*
if [ "$work" ]; then
    tar -c --sort=name --mtime=@0 --owner=0 --group=0 --exclude=__pycache__ --transform "s,^,$name/," \
        LICENSE README.md agents docs fence lab ocf_py rpm >/tmp/source.tar
else
    # A tree that somebody else owns is as good.
    HOME=/tmp git config --global --replace-all safe.directory '*'
    HOME=/tmp git archive --format=tar --prefix="$name/" HEAD >/tmp/source.tar
fi

build() {
    # Both builds are in the same place: the expanded spec, with its paths, is part of the source RPM.
    rm -rf $top "/tmp/$1"
    mkdir -p $top/SOURCES $top/SPECS $top/tmp "/tmp/$1"
    gzip -9n </tmp/source.tar >"$top/SOURCES/$name.tar.gz"
    tar -xOf /tmp/source.tar "$name/$spec" >$top/SPECS/ocf-lab-agents.spec
    log=/tmp/$1.log
    shift
    # RHEL 9 has Python 3.9; a Debian of another Python looks for modules in a place of its own.
    if [ "$python" = 3.9 ]; then
        set -- "$@" --define 'dist .el9'
    else
        set -- "$@" --define "dist .python$python" --define 'python3_sitelib /usr/lib/python3/dist-packages'
    fi
    env -i PATH=/usr/bin:/bin HOME=$top LC_ALL=C.UTF-8 TZ=UTC PYTHONDONTWRITEBYTECODE=1 rpmbuild -ba \
        --define "_topdir $top" --define "_tmppath $top/tmp" --define '_buildhost reproducible' \
        --define '_binary_payload w6.gzdio' --define '_source_payload w6.gzdio' "$@" $top/SPECS/ocf-lab-agents.spec >"$log" 2>&1 ||
        { tail -n 60 "$log" >&2; exit 1; }
    find $top/RPMS $top/SRPMS -name '*.rpm' -exec cp -p {} "${log%.log}" \;
}

if [ "$work" ]; then
    build first
else
    build first --with pytest --define 'test_python /opt/venv/bin/python'
    # The tests pass or fail the first time; and what they leave behind would be a difference.
    build second --nocheck --with pytest --define 'test_python /opt/venv/bin/python'
    for package in /tmp/first/*; do
        cmp "$package" "/tmp/second/${package##*/}"
    done
    for page in "$top/BUILD/$name"/man/*; do
        said=$(man -l --warnings "$page" 2>&1 >/dev/null)
        [ -z "$said" ] || { echo "$page: $said" >&2; exit 1; }
    done
    echo "== two builds of $(HOME=/tmp git rev-parse --short HEAD) are identical; what is not committed is not in them"
fi
mkdir "$into/source"
mv /tmp/first/*.src.rpm "$into/source/"
mv /tmp/first/*.rpm "$into/"
cp /tmp/first.log "$into/build.log"
