package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"
)

// dataPlan says how much fio does.
type dataPlan struct {
	rounds int
	each   time.Duration
	bytes  int64
}

// place is where fio reads and writes, a file or a device.
type place struct {
	name, path string
}

// pattern is what fio does, with direct I/O.
type pattern struct {
	name, rw, size, depth string
}

var patterns = []pattern{
	{"read, sequential, 1 MiB, 8 at a time", "read", "1m", "8"},
	{"write, sequential, 1 MiB, 8 at a time", "write", "1m", "8"},
	{"read, random, 4 KiB, 16 at a time", "randread", "4k", "16"},
	{"write, random, 4 KiB, 16 at a time", "randwrite", "4k", "16"},
	{"read, random, 4 KiB, one by one", "randread", "4k", "1"},
	{"write, random, 4 KiB, one by one", "randwrite", "4k", "1"},
}

const ownFile = "a file of the pool's filesystem"

// measureData has fio work on a file of the pool's own filesystem, in a directory volume, in images and on a block
// volume, in turn.
func (s *station) measureData(p plan, r *report) (err error) {
	if _, err := exec.LookPath("fio"); err != nil {
		return fmt.Errorf("%w: install it, see hack/setup.sh", err)
	}
	places := []place{{ownFile, filepath.Join(s.root, "file")}}
	volumes := []struct {
		name string
		f    form
	}{{"a directory volume", directory}, {"a block volume", block}, {"an ext4 image", form{fsType: "ext4"}}, {"an XFS image", form{fsType: "xfs"}}}
	defer func() { err = errors.Join(err, s.purge()) }()
	if p.data.rounds == 1 {
		volumes = volumes[:3]
	}
	for i, v := range volumes {
		name := fmt.Sprint("data-", i)
		size := p.data.bytes
		if !v.f.block {
			size += size/4 + 300*mib
		}
		if err := s.create(name, v.f, size, nil); err != nil {
			return err
		}
		target := s.target(name)
		if err := s.publish(name, v.f, target); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.unpublish(name, target), s.remove(name)) }()
		at := place{v.name, target}
		if !v.f.block {
			at.path = filepath.Join(target, "file")
		}
		places = append(places, at)
	}
	for _, at := range places {
		progress("data: write %s", at.name)
		if err := writeWhole(at.path, p.data.bytes); err != nil {
			return err
		}
	}
	for _, pattern := range patterns {
		if p.data.rounds == 1 && pattern.depth == "16" {
			continue // for short
		}
		found := map[string][]rate{}
		for i := range p.data.rounds {
			for j := range places {
				at := places[(i+j)%len(places)]
				progress("data: %s, %s", pattern.name, at.name)
				one, err := s.fio(p.data, pattern, at.path)
				if err != nil {
					return err
				}
				found[at.name] = append(found[at.name], one)
			}
		}
		for _, at := range places {
			r.data(pattern.name, at.name, medianRate(found[at.name]), medianRate(found[ownFile]))
		}
	}
	return nil
}

// writeWhole has every block written once: the first write of a block costs more than the next.
func writeWhole(path string, bytes int64) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	piece := noise(mib)
	for at := int64(0); at < bytes; at += mib {
		if _, err := f.WriteAt(piece, at); err != nil {
			return err
		}
	}
	return f.Sync()
}

// rate is what fio found.
type rate struct{ MBs, IOPS float64 }

func (s *station) fio(p dataPlan, what pattern, path string) (rate, error) {
	out, err := exec.CommandContext(s.ctx, "fio", "--name=bench", "--output-format=json", "--direct=1", "--ioengine=libaio",
		"--filename="+path, fmt.Sprint("--size=", p.bytes), "--allow_file_create=0", "--randrepeat=0", "--norandommap",
		"--rw="+what.rw, "--bs="+what.size, "--iodepth="+what.depth, "--time_based", fmt.Sprint("--runtime=", p.each.Milliseconds(), "ms")).Output()
	if err != nil {
		return rate{}, fmt.Errorf("fio %s of %s: %w: %s", what.rw, path, err, out)
	}
	type side struct {
		Bytes int64   `json:"bw_bytes"`
		IOPS  float64 `json:"iops"`
	}
	var found struct {
		Jobs []struct{ Read, Write side }
	}
	if err := json.Unmarshal(out, &found); err != nil || len(found.Jobs) != 1 {
		return rate{}, fmt.Errorf("fio's answer: %w: %s", err, out)
	}
	job := found.Jobs[0]
	return rate{MBs: float64(job.Read.Bytes+job.Write.Bytes) / 1e6, IOPS: job.Read.IOPS + job.Write.IOPS}, nil
}

func medianRate(all []rate) rate {
	sorted := slices.SortedFunc(slices.Values(all), func(a, b rate) int { return int(a.IOPS*1000) - int(b.IOPS*1000) })
	return sorted[len(sorted)/2]
}
