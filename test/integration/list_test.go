package integration

import (
	"encoding/base64"
	"fmt"
	"slices"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
)

// What is made and deleted between two pages moves no other volume: each that was there all the time is listed
// once.
func TestPagesAreStable(t *testing.T) {
	n := newNode(t)
	n.start("--pool", "a="+n.dir+"/a", "--pool", "b="+n.dir+"/b")
	for i := range 20 {
		n.volume(fmt.Sprintf("vol-%02d", i), with("pool", []string{"a", "b"}[i%2]))
	}
	var seen []string
	token := ""
	for page := 0; ; page++ {
		handles, next, err := n.list(token, 3)
		must(t, err)
		if next != "" && len(handles) != 3 {
			t.Errorf("page %d: %v", page, handles)
		}
		seen = append(seen, handles...)
		if next == "" {
			break
		}
		switch token = next; page {
		case 0:
			n.volume("a-before")
			must(t, n.remove("vol-00"))
		case 1:
			must(t, n.remove(seen[len(seen)-1])) // the one that the token names
			must(t, n.remove("vol-18"))
			n.volume("vol-99")
		case 2:
			n.restart()
		}
	}
	if !slices.IsSorted(seen) || len(slices.Compact(slices.Clone(seen))) != len(seen) {
		t.Errorf("%v", seen)
	}
	for i := range 18 {
		if id := fmt.Sprintf("vol-%02d", i); !slices.Contains(seen, id) {
			t.Errorf("%s is not listed: %v", id, seen)
		}
	}
	if slices.Contains(seen, "vol-18") || !slices.Contains(seen, "vol-99") {
		t.Errorf("%v", seen)
	}
}

func TestListEdges(t *testing.T) {
	n := serve(t)
	if handles, next, err := n.list("", 10); err != nil || len(handles) > 0 || next != "" {
		t.Errorf("empty: %v %q %v", handles, next, err)
	}
	n.volume("a")
	n.volume("b")
	if handles, next, err := n.list("", 2); err != nil || len(handles) != 2 || next != "" {
		t.Errorf("a full last page: %v %q %v", handles, next, err)
	}
	if handles, next, err := n.list("", 0); err != nil || len(handles) != 2 || next != "" {
		t.Errorf("all: %v %q %v", handles, next, err)
	}
	_, next, err := n.list("", 1)
	must(t, err)
	if handles, _, err := n.list(next, 0); err != nil || len(handles) != 1 || handles[0] != "b" {
		t.Errorf("all of the rest: %v %v", handles, err)
	}
	_, _, err = n.list("", -1)
	want(t, err, codes.InvalidArgument)
	_, err = n.controller.ControllerListVolumeHealth(n.ctx(), &csi.ControllerListVolumeHealthRequest{MaxEntries: -1})
	want(t, err, codes.InvalidArgument)
}

func TestTokensThatNobodyGave(t *testing.T) {
	n := serve(t)
	n.volume("a")
	n.volume("b")
	_, good, err := n.list("", 1)
	must(t, err)
	flipped := []byte(good)
	flipped[3] ^= 1
	for name, token := range map[string]string{
		"text":        "bogus",
		"id":          "a",
		"number":      "1",
		"cut":         good[:len(good)-1],
		"longer":      good + "A",
		"flipped":     string(flipped),
		"no checksum": base64.RawURLEncoding.EncodeToString([]byte("1 a")),
		"wrong sum":   base64.RawURLEncoding.EncodeToString([]byte("1 a 00000000")),
		"hostile":     base64.RawURLEncoding.EncodeToString([]byte("1 ../../etc 12345678")),
	} {
		_, _, err := n.list(token, 1)
		want(t, err, codes.Aborted, "begin again")
		_, err = n.controller.ControllerListVolumeHealth(n.ctx(), &csi.ControllerListVolumeHealthRequest{StartingToken: token})
		want(t, err, codes.Aborted)
		if t.Failed() {
			t.Fatal(name)
		}
	}
}
