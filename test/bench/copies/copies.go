package main

import (
	"fmt"
	"path/filepath"
	"time"
)

// Names of the samples; the first three are ours.
const (
	snapshot = "snapshot"
	restore  = "restore"
	clone    = "clone"
	rawRead  = "raw, read-only"
	rawWrite = "raw, writable"
	cpAlone  = "cp"
	cpSynced = "cp + syncfs"
)

// operation is done in turn with others; undo is not measured.
type operation struct {
	name string
	do   func(name string) error
	undo func(name string) error
}

// method is how the pool makes a copy, and what that is measured against.
type method struct {
	f     form
	name  string
	floor string  // what is in it
	limit float64 // ours ≤ limit × floor
	raw   bool    // the floor is bare system calls and a Probe, else cp
}

func (s *station) method(f form, c content) method {
	m := method{f: f, name: "copy", floor: "cp -a, syncfs", limit: 1.1}
	switch {
	case f == directory && s.kind == "btrfs":
		m = method{f, "subvolume", "Probe, mkdir, snapshot ioctl, limit, record, rename, commit", 1.5, true}
	case f == directory && s.kind == "xfs" && c.Files > 0:
		m = method{f, "reflink walk", "cp -a --reflink=always, syncfs", 0.7, false}
	case s.kind != "ext4":
		m = method{f, "reflink", "Probe, mkdir, create, FICLONE, fsync, record, rename, fsync", 1.5, true}
	}
	return m
}

func (s *station) measureCopies(p plan, r *report) error {
	for _, c := range p.contents {
		for _, f := range []form{directory, c.inImage()} {
			if err := s.measureContent(p, r, c, f); err != nil {
				return fmt.Errorf("%s: %w", c.Name, err)
			}
		}
	}
	return nil
}

const source, base = "source", "base"

func (s *station) measureContent(p plan, r *report, c content, f form) error {
	progress("%s, %s: prepare", s.kind, label(c, f))
	if err := s.hold(source, f, c); err != nil {
		return err
	}
	if err := s.snapshot(base, source); err != nil {
		return err
	}
	m := s.method(f, c)
	times := samples{}
	all := s.operations(m, c, times)
	repeats := p.repeats(c, m.raw)
	for i := range repeats {
		progress("%s, %s: %d of %d", s.kind, label(c, f), i+1, repeats)
		for j := range all {
			op := all[(i+j)%len(all)] // who is first changes from round to round
			if op.name == cpAlone && m.raw && i >= p.slow {
				continue // it is for comparison only
			}
			if err := s.measureOne(op, fmt.Sprint("item-", i), times); err != nil {
				return fmt.Errorf("%s: %w", op.name, err)
			}
		}
		if err := times.take(probe, 20, s.probe); err != nil {
			return err
		}
	}
	r.copies(s.kind, label(c, f), m, times)
	if c.Files > 0 || c.Written >= gib {
		if err := s.ask(p, r, c, m); err != nil {
			return err
		}
	}
	if err := s.removeSnapshot(base); err != nil {
		return err
	}
	if err := s.remove(source); err != nil {
		return err
	}
	return s.purge()
}

func label(c content, f form) string {
	if f.image() {
		return c.Name + " in an image"
	}
	return c.Name
}

func (s *station) measureOne(op operation, name string, times samples) error {
	if err := settle(s.root); err != nil {
		return err
	}
	if err := s.probe(); err != nil { // the daemon, too, has done with what was before
		return err
	}
	start := time.Now()
	if err := op.do(name); err != nil {
		return err
	}
	if op.name != cpAlone { // which takes its time itself
		times.add(op.name, time.Since(start))
	}
	return op.undo(name)
}

func (s *station) operations(m method, c content, times samples) []operation {
	size := c.size(m.f)
	gone := func(name string) error {
		if err := s.remove(name); err != nil {
			return err
		}
		return s.purge()
	}
	reflink := "always"
	if s.kind == "ext4" || s.kind == "btrfs" && m.f.image() { // cp does not share what is overwritten in place
		reflink = "auto"
	}
	dir := filepath.Join(s.pool, "volumes", source)
	all := []operation{
		{snapshot, func(name string) error { return s.snapshot(name, source) }, func(name string) error {
			if err := s.removeSnapshot(name); err != nil {
				return err
			}
			return s.purge()
		}},
		{restore, func(name string) error { return s.create(name, m.f, size, ofSnapshot(base)) }, gone},
		{clone, func(name string) error { return s.create(name, m.f, size, ofVolume(source)) }, gone},
		{cpAlone, func(name string) error {
			alone, synced, err := s.floor.cp(s.ctx, name, dir, reflink)
			times.add(cpAlone, alone)
			times.add(cpSynced, synced)
			return err
		}, s.floor.clear},
	}
	switch {
	case m.name == "subvolume":
		data := filepath.Join(dir, "data")
		return append(all,
			operation{rawRead, func(name string) error { return s.floor.subvolume(name, data, 0) }, s.floor.clear},
			operation{rawWrite, func(name string) error { return s.floor.subvolume(name, data, size) }, s.floor.clear})
	case m.raw:
		file := filepath.Join(dir, "image")
		if !m.f.image() {
			file = filepath.Join(dir, "data", "file")
		}
		return append(all, operation{rawWrite, func(name string) error { return s.floor.reflink(name, file) }, s.floor.clear})
	}
	return all
}
