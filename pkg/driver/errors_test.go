package driver

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/hostvol/hostvol/pkg/volume"
)

func TestCodes(t *testing.T) {
	for _, c := range []struct {
		err  error
		want codes.Code
	}{
		{nil, codes.OK},
		{volume.ErrInvalid, codes.InvalidArgument},
		{volume.ErrNotFound, codes.NotFound},
		{volume.ErrExists, codes.AlreadyExists},
		{volume.ErrBusy, codes.Aborted},
		{volume.ErrToken, codes.Aborted},
		{volume.ErrInUse, codes.FailedPrecondition},
		{volume.ErrState, codes.FailedPrecondition},
		{volume.ErrOutOfRange, codes.OutOfRange},
		{volume.ErrExhausted, codes.ResourceExhausted},
		{volume.ErrUnavailable, codes.Unavailable},
		{context.DeadlineExceeded, codes.DeadlineExceeded},
		{context.Canceled, codes.Canceled},
		{errors.New("anything else"), codes.Internal},
		{status.Error(codes.Unimplemented, "already one"), codes.Unimplemented},
	} {
		if got := status.Code(toStatus(c.err)); got != c.want {
			t.Errorf("%v: %v, want %v", c.err, got, c.want)
		}
		if c.err == nil {
			continue
		}
		if _, ok := status.FromError(c.err); ok {
			continue
		}
		wrapped := toStatus(fmt.Errorf("grow volume x: %w", c.err))
		if status.Code(wrapped) != c.want || status.Convert(wrapped).Message() != "grow volume x: "+c.err.Error() {
			t.Errorf("wrapped: %v, want %v", wrapped, c.want)
		}
	}
}
