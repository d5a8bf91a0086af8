# `make demo` and `make test` do all their own set-up on a fresh Debian 12 machine, as root.
PYTHON ?= python3
DESTDIR ?=
PYTHONDIR ?= /usr/lib/python3/dist-packages
OCFDIR ?= /usr/lib/ocf/resource.d/lab

.PHONY: help setup demo test bench install

install:
	install -d $(DESTDIR)$(PYTHONDIR) $(DESTDIR)$(OCFDIR)
	cp -r ocf_py agents/ocf_lab $(DESTDIR)$(PYTHONDIR)/
	find $(DESTDIR)$(PYTHONDIR)/ocf_py $(DESTDIR)$(PYTHONDIR)/ocf_lab -name __pycache__ -prune -exec rm -rf {} +
	$(PYTHON) -m compileall -q $(DESTDIR)$(PYTHONDIR)/ocf_py $(DESTDIR)$(PYTHONDIR)/ocf_lab
	for agent in agents/*; do [ ! -f "$$agent" ] || install -m 755 "$$agent" $(DESTDIR)$(OCFDIR)/; done
