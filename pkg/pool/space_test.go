package pool

import (
	"testing"

	"github.com/hostvol/hostvol/pkg/host/safepath"
)

func TestLedger(t *testing.T) {
	var l ledger
	steps := []struct {
		name       string
		size, used int64
		remove     bool
		want       ledger
	}{
		{"enforced, empty", 100, 0, false, ledger{sizes: 100, outstanding: 100}},
		{"enforced, half full", 100, 50, false, ledger{sizes: 200, outstanding: 150, known: 50}},
		{"enforced, beyond its size", 100, 120, false, ledger{sizes: 300, outstanding: 150, known: 170}},
		{"not enforced", 100, unknown, false, ledger{sizes: 400, outstanding: 150, known: 170, blind: 100}},
		{"the last goes", 100, unknown, true, ledger{sizes: 300, outstanding: 150, known: 170}},
		{"the third goes", 100, 120, true, ledger{sizes: 200, outstanding: 150, known: 50}},
		{"the second goes", 100, 50, true, ledger{sizes: 100, outstanding: 100}},
		{"the first goes", 100, 0, true, ledger{}},
	}
	for _, s := range steps {
		if s.remove {
			l.remove(s.size, s.used)
		} else {
			l.add(s.size, s.used)
		}
		if l != s.want {
			t.Errorf("%s: %+v, want %+v", s.name, l, s.want)
		}
	}
}

func TestSpace(t *testing.T) {
	reserve := func(n int64) *int64 { return &n }
	disk := func(total, free int64) safepath.Space {
		return safepath.Space{Bytes: total, BytesFree: free, BytesAvailable: free}
	}
	for _, c := range []struct {
		name             string
		cfg              Config
		disk             safepath.Space
		dedicated        bool
		others           int64
		sizes            [][2]int64 // size, used
		limit, available int64
	}{
		{name: "empty, its own disk", disk: disk(1000, 1000), dedicated: true, limit: 1000, available: 1000},
		{name: "empty, a shared disk keeps a tenth", disk: disk(1000, 1000), limit: 1000, available: 900},
		{name: "the reserve that was given", cfg: Config{Reserve: reserve(300)}, disk: disk(1000, 1000), dedicated: true, limit: 1000, available: 700},
		{name: "no reserve", cfg: Config{Reserve: reserve(0)}, disk: disk(1000, 1000), limit: 1000, available: 1000},
		{name: "more reserve than there is", cfg: Config{Reserve: reserve(3000)}, disk: disk(1000, 1000), limit: 1000, available: 0},
		{name: "a limit", cfg: Config{Limit: 500}, disk: disk(1000, 1000), dedicated: true, limit: 500, available: 500},
		{name: "a limit beyond the disk", cfg: Config{Limit: 5000}, disk: disk(1000, 1000), dedicated: true, limit: 5000, available: 1000},
		{
			name: "promised and not written", disk: disk(1000, 1000), dedicated: true,
			sizes: [][2]int64{{300, 0}, {200, 0}}, limit: 1000, available: 500,
		},
		{
			name: "promised and written", disk: disk(1000, 600), dedicated: true,
			sizes: [][2]int64{{300, 300}, {200, 100}}, limit: 1000, available: 500,
		},
		{
			name: "somebody else has written", disk: disk(1000, 400), dedicated: true,
			sizes: [][2]int64{{300, 100}}, limit: 1000, available: 200,
		},
		{
			name: "not counted, its own disk: what is used is theirs", disk: disk(1000, 700), dedicated: true,
			sizes: [][2]int64{{500, unknown}}, limit: 1000, available: 500,
		},
		{
			name: "not counted, a shared disk: all may come yet", cfg: Config{Reserve: reserve(0)}, disk: disk(1000, 700),
			sizes: [][2]int64{{500, unknown}}, limit: 1000, available: 200,
		},
		{
			name: "counted and not counted", disk: disk(1000, 500), dedicated: true,
			sizes: [][2]int64{{300, 200}, {400, unknown}}, limit: 1000, available: 300,
		},
		{name: "other pools on the disk", disk: disk(1000, 1000), dedicated: true, others: 600, limit: 1000, available: 400},
		{
			name: "overcommitted", cfg: Config{Overcommit: 2}, disk: disk(1000, 1000), dedicated: true,
			sizes: [][2]int64{{1500, 0}}, limit: 2000, available: 500,
		},
		{
			name: "a limit, overcommitted", cfg: Config{Limit: 400, Overcommit: 1.5}, disk: disk(1000, 1000), dedicated: true,
			sizes: [][2]int64{{100, 0}}, limit: 600, available: 500,
		},
		{
			name: "promised more than there is by now", cfg: Config{Limit: 100}, disk: disk(1000, 1000), dedicated: true,
			sizes: [][2]int64{{500, 0}}, limit: 100, available: 0,
		},
		{name: "a huge factor does not overflow", cfg: Config{Overcommit: 1e12}, disk: disk(1<<60, 1<<60), dedicated: true, limit: 1<<62 - 1, available: 1<<62 - 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.cfg.Overcommit == 0 {
				c.cfg.Overcommit = 1
			}
			var l ledger
			var sum int64
			for _, s := range c.sizes {
				l.add(s[0], s[1])
				sum += s[0]
			}
			got := l.space(c.cfg, c.disk, c.dedicated, c.others)
			if abs(got.Limit-c.limit) > 1 || abs(got.Available-c.available) > 1 || got.Reserved != sum ||
				got.Total != c.disk.Bytes || got.Free != c.disk.BytesAvailable {
				t.Errorf("%+v, want limit %d and available %d", got, c.limit, c.available)
			}
		})
	}
}

func abs(n int64) int64 { return max(n, -n) }
