package volume

import "testing"

func TestPublished(t *testing.T) {
	p := newPublished()
	p.add("a", "/1", publication{exclusive: true})
	p.add("a", "/1", publication{})
	p.add("a", "/2", publication{})
	if got := p.of("a"); len(got) != 2 || got["/1"].exclusive {
		t.Errorf("%v", got)
	}
	if got := p.above("/1/x/y", "/"); got != "/1" {
		t.Errorf("above: %q", got)
	}
	if got := p.above("/1", "/"); got != "" {
		t.Errorf("above itself: %q", got)
	}
	p.add("b", "/3", publication{})
	p.add("b", "/2", publication{}) // takes the target from a
	p.of("a")["/4"] = publication{} // a copy
	p.drop("a", "/4")
	p.drop("nobody", "/1")
	if got := p.of("a"); len(got) != 1 {
		t.Errorf("%v", got)
	}
	p.drop("a", "/1")
	if got := p.of("a"); got != nil {
		t.Errorf("%v", got)
	}
	if got := p.of("b"); len(got) != 2 {
		t.Errorf("%v", got)
	}
	p.add("c", "/5", publication{})
	p.add(staticKey, "/5", publication{})
	p.forget("/5") // whosever it was
	if got := p.above("/5/x", "/"); got != "" || p.of("c") != nil || p.of(staticKey) != nil {
		t.Errorf("forgotten: %q %v %v", got, p.of("c"), p.of(staticKey))
	}
}
