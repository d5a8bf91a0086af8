#!/bin/sh
# Build the RPMs from the last commit, twice, into the directory $1: run by `make rpm` in the root `rpm`, which has no network.
# Both builds are in the same place: the expanded spec, with its paths, is part of the source RPM.
set -eu
into=$1
spec=rpm/ocf-lab-agents.spec
version=$(sed -n 's/^Version: *//p' $spec)
top=/tmp/rpmbuild
mkdir -p "$into"
rm -rf "${into:?}"/*
git archive --format=tar --prefix="ocf-lab-agents-$version/" HEAD >/tmp/source.tar
for build in first second; do
    rm -rf $top
    mkdir -p $top/SOURCES $top/SPECS $top/tmp
    gzip -9n </tmp/source.tar >"$top/SOURCES/ocf-lab-agents-$version.tar.gz"
    tar -xOf /tmp/source.tar "ocf-lab-agents-$version/$spec" >$top/SPECS/ocf-lab-agents.spec
    if ! env -i PATH=/usr/bin:/bin HOME=$top LC_ALL=C.UTF-8 TZ=UTC PYTHONDONTWRITEBYTECODE=1 rpmbuild -ba --with pytest \
        --define "_topdir $top" --define "_tmppath $top/tmp" --define 'dist .el9' --define '_buildhost reproducible' \
        --define '_binary_payload w6.gzdio' --define '_source_payload w6.gzdio' --define 'test_python /opt/venv/bin/python' \
        $top/SPECS/ocf-lab-agents.spec >/tmp/$build.log 2>&1; then
        tail -n 60 /tmp/$build.log >&2
        exit 1
    fi
    mkdir /tmp/$build
    find $top/RPMS $top/SRPMS -name '*.rpm' -exec cp -p {} /tmp/$build/ \;
done
for package in /tmp/first/*; do
    cmp "$package" "/tmp/second/${package##*/}"
done
for page in "$top/BUILD/ocf-lab-agents-$version"/man/*; do
    said=$(man -l --warnings "$page" 2>&1 >/dev/null)
    [ -z "$said" ] || { echo "$page: $said" >&2; exit 1; }
done
mkdir "$into/source"
mv /tmp/second/*.src.rpm "$into/source/"
mv /tmp/second/*.rpm "$into/"
cp /tmp/second.log "$into/build.log"
echo "== two builds of $(git rev-parse --short HEAD) are identical; what is not committed is not in them"
