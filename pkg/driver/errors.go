package driver

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/hostvol/hostvol/pkg/volume"
)

// toStatus is the one table that turns the service's errors into gRPC's.
func toStatus(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	for _, row := range []struct {
		is   error
		code codes.Code
	}{
		{volume.ErrToken, codes.Aborted},
		{volume.ErrInvalid, codes.InvalidArgument},
		{volume.ErrNotFound, codes.NotFound},
		{volume.ErrExists, codes.AlreadyExists},
		{volume.ErrBusy, codes.Aborted},
		{volume.ErrInUse, codes.FailedPrecondition},
		{volume.ErrState, codes.FailedPrecondition},
		{volume.ErrOutOfRange, codes.OutOfRange},
		{volume.ErrExhausted, codes.ResourceExhausted},
		{volume.ErrUnavailable, codes.Unavailable},
		{context.DeadlineExceeded, codes.DeadlineExceeded},
		{context.Canceled, codes.Canceled},
	} {
		if errors.Is(err, row.is) {
			return status.Error(row.code, err.Error())
		}
	}
	return status.Error(codes.Internal, err.Error())
}

func missing(field string) error {
	return status.Errorf(codes.InvalidArgument, "%s is required", field)
}
