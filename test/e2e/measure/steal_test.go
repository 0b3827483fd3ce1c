package measure

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

// steal tells at its call which share of the processors' time since then a
// hypervisor gave to others; 0 if it does not say.
func steal(t *testing.T) func() float64 {
	t.Helper()
	read := func() (stolen, all float64) {
		stat, err := os.ReadFile("/proc/stat")
		if err != nil {
			t.Fatal(err)
		}
		line, _, _ := strings.Cut(string(stat), "\n")
		fields := strings.Fields(line)
		for i, field := range fields[1:min(9, len(fields))] { // what follows is counted in user and nice, too
			n, err := strconv.ParseFloat(field, 64)
			if err != nil {
				t.Fatal(err)
			}
			all += n
			if i == 7 {
				stolen = n
			}
		}
		return stolen, all
	}
	stolenBefore, allBefore := read()
	return func() float64 {
		stolen, all := read()
		return (stolen - stolenBefore) / max(1, all-allBefore)
	}
}
