package main

import (
	"slices"
	"time"
)

// samples are durations by what took them.
type samples map[string][]time.Duration

const (
	probe       = "Probe"
	getCapacity = "GetCapacity"
)

func (s samples) add(name string, took time.Duration) { s[name] = append(s[name], took) }

// take does something so many times.
func (s samples) take(name string, times int, do func() error) error {
	for range times {
		start := time.Now()
		if err := do(); err != nil {
			return err
		}
		s.add(name, time.Since(start))
	}
	return nil
}

func (s samples) median(name string) time.Duration { return s.quantile(name, 50) }

// quantile in percent; 0 of what was not measured.
func (s samples) quantile(name string, percent int) time.Duration {
	if len(s[name]) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s[name]))
	return sorted[min(len(sorted)*percent/100, len(sorted)-1)]
}
