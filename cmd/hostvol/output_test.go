package main

import (
	"strings"
	"testing"
)

func TestSizesForPeople(t *testing.T) {
	for bytes, want := range map[int64]string{
		-1: "-", 0: "0", 1: "1", 1023: "1023", 1024: "1Ki", 1536: "1.5Ki", 1 << 20: "1Mi", 1<<20 + 1: "1Mi", 16 << 20: "16Mi",
		3 << 29: "1.5Gi", 1 << 40: "1Ti", 5 << 50: "5Pi", 1<<63 - 1: "8Ei",
	} {
		if got := size(bytes); got != want {
			t.Errorf("%d: %s, want %s", bytes, got, want)
		}
	}
}

func TestSizesFromPeople(t *testing.T) {
	for text, want := range map[string]int64{"1": 1, "1Ki": 1024, "1.5Gi": 3 << 29, "10G": 10000000000, "0.5": 1} {
		if got, err := parseSize(text); err != nil || got != want {
			t.Errorf("%s: %d %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "0", "-1Gi", "lots", "1 Gi", "1GiB"} {
		if got, err := parseSize(text); err == nil || !strings.Contains(err.Error(), "10Gi") {
			t.Errorf("%q: %d %v", text, got, err)
		}
	}
}

func TestPrint(t *testing.T) {
	table := func(row func(...string)) {
		row("ID", "SIZE")
		row("a-long-name", "1Gi")
	}
	for how, want := range map[output]string{
		"table": "ID           SIZE\na-long-name  1Gi\n",
		"json":  "{\n  \"a\": 1\n}\n",
	} {
		var b strings.Builder
		if err := how.print(&b, map[string]int{"a": 1}, table); err != nil || b.String() != want {
			t.Errorf("%s: %q %v", how, b.String(), err)
		}
	}
	if err := output("yaml").print(&strings.Builder{}, nil, table); err == nil {
		t.Error("yaml")
	}
}
