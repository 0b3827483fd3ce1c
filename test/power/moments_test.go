//go:build power

package power

import (
	"cmp"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/hostvol/hostvol/test/power/logwrites"
)

// history is the log of a load, with what its marks say.
type history struct {
	*logwrites.Log
	file *os.File
	moments
	from, to int // the load
	// steps and acks are where they are marked, the steps by their names.
	steps map[string][]int
	acks  []int
}

func readHistory(t *testing.T, path string) *history {
	t.Helper()
	file, err := os.Open(path)
	must(t, err)
	t.Cleanup(func() { must(t, file.Close()) })
	log, err := logwrites.Read(file)
	must(t, err)
	h := &history{Log: log, file: file, steps: map[string][]int{}, moments: moments{begun: map[int]int{}, acked: map[int]int{}, refused: map[int]int{}}}
	for i, e := range log.Entries {
		kind, rest, _ := strings.Cut(e.Mark, ":")
		switch kind += ":"; kind {
		case loadBegins + ":":
			h.from = i
		case loadEnds + ":":
			h.to = i
		case stepMark:
			h.steps[rest] = append(h.steps[rest], i)
		case beginMark, ackMark, refuseMark:
			number, err := strconv.Atoi(rest)
			must(t, err)
			map[string]map[int]int{beginMark: h.begun, ackMark: h.acked, refuseMark: h.refused}[kind][number] = i
			if kind == ackMark {
				h.acks = append(h.acks, i)
			}
		}
	}
	if h.from == 0 || h.to == 0 || len(h.acks) == 0 {
		t.Fatalf("the log of %d entries does not tell of a load: %d, %d, %d acknowledgements", len(log.Entries), h.from, h.to, len(h.acks))
	}
	return h
}

// cuts draws moments, in the order of the log: right after each step, with nothing unsafe and with a part of it, as
// far as they are half of all; the rest right after acknowledgements, and anywhere.
func (h *history) cuts(n int, random *rand.Rand) []logwrites.Cut {
	var atSteps, out []logwrites.Cut
	names := make([]string, 0, len(h.steps))
	for name := range h.steps {
		names = append(names, name)
	}
	slices.Sort(names) // so that a seed draws the same again
	for _, name := range names {
		after := h.steps[name][random.IntN(len(h.steps[name]))] + 1
		atSteps = append(atSteps, h.Prefix(after), h.Torn(after))
	}
	random.Shuffle(len(atSteps), func(i, j int) { atSteps[i], atSteps[j] = atSteps[j], atSteps[i] })
	out = append(out, atSteps[:min(len(atSteps), (n+1)/2)]...)
	for len(out) < n {
		anywhere := h.from + random.IntN(h.to-h.from)
		switch random.IntN(4) {
		case 0:
			out = append(out, h.Prefix(anywhere))
		case 1:
			out = append(out, h.Prefix(h.acks[random.IntN(len(h.acks))]+1))
		default:
			out = append(out, h.Torn(anywhere))
		}
	}
	slices.SortFunc(out, func(a, b logwrites.Cut) int { return cmp.Compare(a.At, b.At) })
	return out
}

// near tells the marks before a cut, for messages.
func (h *history) near(at int) string {
	var marks []string
	for i := at - 1; i >= 0 && len(marks) < 6; i-- {
		if m := h.Entries[i].Mark; m != "" {
			marks = append(marks, m)
		}
	}
	slices.Reverse(marks)
	return strings.Join(marks, " ")
}
