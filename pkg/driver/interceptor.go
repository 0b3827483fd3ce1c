package driver

import (
	"context"
	"path"
	"runtime/debug"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/klog/v2"
)

// Observer is told of each call: its method's name, its code, and how long it
// took.
type Observer func(method, code string, took time.Duration)

// Interceptor puts the logger into the context, turns a panic into Internal,
// logs failures, and tells the observer. It never logs a request: they carry
// secrets.
func Interceptor(log klog.Logger, observe Observer) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (resp any, err error) {
		began := time.Now()
		method := path.Base(info.FullMethod)
		defer func() {
			if p := recover(); p != nil {
				log.Error(nil, "A call panicked", "method", method, "panic", p, "stack", string(debug.Stack()))
				resp, err = nil, status.Errorf(codes.Internal, "internal error in %s; see the driver's log", method)
			}
			code := status.Code(err)
			took := time.Since(began)
			if observe != nil {
				observe(method, code.String(), took)
			}
			report(log, method, req, code, err, took)
		}()
		resp, err = handler(klog.NewContext(ctx, log), req)
		if err != nil {
			return nil, err
		}
		return resp, nil
	}
}

// report logs one call: as an error if an administrator must act.
func report(log klog.Logger, method string, req any, code codes.Code, err error, took time.Duration) {
	if code == codes.OK {
		if l := log.V(4); l.Enabled() {
			l.Info("Call succeeded", "method", method, "took", took)
		}
		return
	}
	log = log.WithValues("method", method)
	if v, ok := req.(interface{ GetVolumeId() string }); ok {
		log = log.WithValues("volumeID", v.GetVolumeId())
	}
	if v, ok := req.(interface{ GetSnapshotId() string }); ok {
		log = log.WithValues("snapshotID", v.GetSnapshotId())
	}
	switch code {
	case codes.Internal, codes.Unknown, codes.DataLoss, codes.Unavailable:
		log.Error(err, "Call failed", "code", code.String(), "took", took)
	default:
		log.V(2).Info("Call refused", "code", code.String(), "took", took, "err", err)
	}
}
