# Each target does all its own set-up on a fresh Debian 12 machine, as root, and can be repeated.
PYTHON := $(firstword $(wildcard /usr/bin/python3) python3)
DESTDIR ?=
PYTHONDIR ?= /usr/lib/python3/dist-packages
OCFDIR ?= /usr/lib/ocf/resource.d/lab
SBINDIR ?= /usr/sbin

# make test JOBS=1 PARTS="bullseye trixie" LIMIT=600 ARGS="-k startup -x"; with ARGS, no lab is booted
JOBS ?= 2
PARTS ?=
LIMIT ?= 3600
ARGS ?=
WHAT =

# A plain `su` leaves these out.
export PATH := $(PATH):/usr/local/sbin:/usr/sbin:/sbin

.PHONY: help setup demo test bench lab lab-full rpm install

help:
	@echo 'make demo     the stock agent and ours over one database whose storage stops answering: a table and a picture'
	@echo 'make test     linters, the suite on Debian 11, 12 and in part 13, a node, a smoke lab; PARTS=, JOBS=, LIMIT=, ARGS= narrow it'
	@echo 'make bench    what a monitor and a fencing cost, as ratios, against the budgets'
	@echo 'make lab      two virtual machines, a SAN and a hypervisor: a killed server and storage that stops answering, with the'
	@echo '              stock agents and ours, as a report; half an hour without KVM.  python3 -m lab --help does each step alone'
	@echo 'make lab-full all that a whole report has: a day without KVM; interrupted, it goes on where it was'
	@echo 'make rpm      the packages of the last commit for RHEL 9, built twice and compared, in a dnf repository: dist/rpm'
	@echo 'make setup    what all above begin with: see what is missing on this machine and install it'
	@echo 'make install  the framework, the agents and fence_pve, into this machine or below DESTDIR'
	@echo
	@echo 'All but help and install need root, a Debian machine and its package mirror. They install debootstrap and e2fsprogs on the'
	@echo 'machine, and all the rest in roots of their own under /var/cache/ocf-lab (OCF_LAB_CACHE), about 3 GB; the lab'
	@echo 'takes 12 GB more there, and 4 GB of memory while it runs.'

lab lab-full: WHAT = nodes

setup:
	@command -v $(PYTHON) >/dev/null || { echo 'make $@: python3 is missing (apt-get install python3)' >&2; exit 1; }
	@$(PYTHON) -m lab.setup $(WHAT)

demo: setup
	@$(PYTHON) -m lab.demo

test: setup
	@$(PYTHON) -m tests.run --jobs $(JOBS) --limit $(LIMIT) $(PARTS) -- $(ARGS)

bench: setup
	@$(PYTHON) -m lab.bench

lab: setup
	@$(PYTHON) -m lab show

lab-full: setup
	@$(PYTHON) -m lab full

rpm: setup
	@mkdir -p dist/rpm
	@$(PYTHON) -m lab.roots run --share dist/rpm rpm -- sh rpm/build.sh $(CURDIR)/dist/rpm
	@$(PYTHON) -m lab.roots run --share dist/rpm dnf -- sh rpm/check.sh $(CURDIR)/dist/rpm

install:
	install -d $(DESTDIR)$(PYTHONDIR) $(DESTDIR)$(OCFDIR) $(DESTDIR)$(SBINDIR)
	cp -r ocf_py agents/ocf_lab fence/fence_lab $(DESTDIR)$(PYTHONDIR)/
	cd $(DESTDIR)$(PYTHONDIR) && find ocf_py ocf_lab fence_lab -name __pycache__ -prune -exec rm -rf {} +
	cd $(DESTDIR)$(PYTHONDIR) && $(PYTHON) -m compileall -q ocf_py ocf_lab fence_lab
	for agent in agents/*; do [ ! -f "$$agent" ] || install -m 755 "$$agent" $(DESTDIR)$(OCFDIR)/; done
	for agent in fence/fence_*; do [ ! -f "$$agent" ] || install -m 755 "$$agent" $(DESTDIR)$(SBINDIR)/; done
