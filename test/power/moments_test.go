//go:build power

package power

import (
	"cmp"
	"maps"
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

// cuts draws moments, in the order of the log: right after a step of each name, with nothing unsafe and with a part
// of it, and right after an acknowledgement of each kind of operation, as far as these are three quarters of all; the
// rest after other acknowledgements, and anywhere.
func (h *history) cuts(n int, books []*book, random *rand.Rand) []logwrites.Cut {
	var chosen []logwrites.Cut
	one := func(at []int) int { return at[random.IntN(len(at))] + 1 }
	for _, name := range slices.Sorted(maps.Keys(h.steps)) { // sorted, so that a seed draws the same again
		after := one(h.steps[name])
		chosen = append(chosen, h.Prefix(after), h.Torn(after))
	}
	kinds := h.acksByKind(books)
	for _, name := range slices.Sorted(maps.Keys(kinds)) {
		chosen = append(chosen, h.Prefix(one(kinds[name])))
	}
	random.Shuffle(len(chosen), func(i, j int) { chosen[i], chosen[j] = chosen[j], chosen[i] })
	out := chosen[:min(len(chosen), (3*n+3)/4)]
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

// acksByKind are where operations were acknowledged, by their names and classes.
func (h *history) acksByKind(books []*book) map[string][]int {
	out := map[string][]int{}
	for _, b := range books {
		for _, o := range b.operations {
			if at, ok := h.acked[o.number]; ok {
				kind := b.class.name + " " + o.name
				out[kind] = append(out[kind], at)
			}
		}
	}
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
