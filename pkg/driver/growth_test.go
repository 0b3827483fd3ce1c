package driver

import (
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestRefusals(t *testing.T) {
	full := status.Error(codes.ResourceExhausted, "no room")
	for name, c := range map[string]struct {
		calls string // p published, u unpublished or grown, r refused
		want  []codes.Code
	}{
		"a pod runs":                    {"prrr", []codes.Code{codes.OutOfRange, codes.OutOfRange, codes.OutOfRange}},
		"the kubelet mounts":            {"prpr", []codes.Code{codes.OutOfRange, codes.FailedPrecondition}},
		"it mounts again later":         {"prprupr", []codes.Code{codes.OutOfRange, codes.FailedPrecondition, codes.OutOfRange}},
		"refused under a pod, then new": {"prupr", []codes.Code{codes.OutOfRange, codes.OutOfRange}},
	} {
		t.Run(name, func(t *testing.T) {
			var r refusals
			for _, call := range c.calls {
				switch call {
				case 'p':
					r.published("vol")
				case 'u':
					r.forget("vol")
				case 'r':
					err := r.code("vol", full)
					if status.Code(err) != c.want[0] || status.Convert(err).Message() != "no room" {
						t.Errorf("%v, want %v", err, c.want[0])
					}
					c.want = c.want[1:]
				}
			}
		})
	}
	var r refusals
	if err := r.code("vol", status.Error(codes.NotFound, "x")); status.Code(err) != codes.NotFound || len(r.of) != 0 {
		t.Errorf("%v, %v", err, r.of)
	}
}
