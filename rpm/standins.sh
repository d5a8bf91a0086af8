#!/bin/sh
# Make a dnf repository of empty packages in the directory $1, with the names in rpm/rhel9.list but those given after $2: what RHEL 9
# has for ours, whose Python is $2.
set -eu
into=$1 python=$2
shift 2
top=/tmp/standins
rm -rf $top
mkdir -p $top "$into"
{
    printf '%s\n' 'Name: standins' 'Version: 1' 'Release: 1' 'Summary: Nothing' 'License: none' 'BuildArch: noarch' '%description' '%install'
    names=" $* "
    grep -v '^#' rpm/rhel9.list | while read -r name version provides; do
        case $names in *" $name "*) continue ;; esac
        printf '%s\n' "%package -n $name" "Version: $version" 'Summary: Nothing'
        for one in $provides; do
            [ "$one" != 'python(abi)' ] || one="$one = $python"
            echo "Provides: $one"
        done
        printf '%s\n' "%description -n $name" "%files -n $name"
    done
} >$top/standins.spec
rpmbuild -bb --quiet --define "_topdir $top" --define "_rpmdir $into" $top/standins.spec >$top/log 2>&1 || { cat $top/log >&2; exit 1; }
createrepo_c --quiet "$into"
