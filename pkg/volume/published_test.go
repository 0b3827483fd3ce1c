package volume

import "testing"

func TestPublished(t *testing.T) {
	p := newPublished()
	p.add("a", "/1", publication{exclusive: true})
	p.add("a", "/1", publication{})
	p.add("a", "/2", publication{})
	p.add("b", "/1", publication{})
	if got := p.of("a"); len(got) != 2 || got["/1"].exclusive {
		t.Errorf("%v", got)
	}
	p.of("a")["/3"] = publication{} // a copy
	p.drop("a", "/2")
	p.drop("a", "/3")
	p.drop("nobody", "/1")
	if got := p.of("a"); len(got) != 1 {
		t.Errorf("%v", got)
	}
	p.drop("a", "/1")
	if got := p.of("a"); got != nil {
		t.Errorf("%v", got)
	}
	if got := p.of("b"); len(got) != 1 {
		t.Errorf("%v", got)
	}
}
