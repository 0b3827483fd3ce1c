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
		c := newCall(log, observe, info.FullMethod)
		defer func() {
			if err = c.end(recover(), req, err); err != nil {
				resp = nil
			}
		}()
		return handler(klog.NewContext(ctx, log), req)
	}
}

// StreamInterceptor is Interceptor for calls that answer with a stream.
func StreamInterceptor(log klog.Logger, observe Observer) grpc.StreamServerInterceptor {
	return func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
		c := newCall(log, observe, info.FullMethod)
		s := &logged{ServerStream: stream, ctx: klog.NewContext(stream.Context(), log)}
		defer func() { err = c.end(recover(), s.request, err) }()
		return handler(srv, s)
	}
}

// logged is a stream whose context has the logger. It keeps the request.
type logged struct {
	grpc.ServerStream
	ctx     context.Context
	request any
}

// Context implements grpc.ServerStream.
func (s *logged) Context() context.Context { return s.ctx }

// RecvMsg implements grpc.ServerStream.
func (s *logged) RecvMsg(m any) error {
	s.request = m
	return s.ServerStream.RecvMsg(m)
}

// call is a call under way.
type call struct {
	log     klog.Logger
	observe Observer
	method  string
	began   time.Time
}

func newCall(log klog.Logger, observe Observer, method string) call {
	return call{log, observe, path.Base(method), time.Now()}
}

// end is given what the call panicked with, if it did, and gives its error.
func (c call) end(panicked, req any, err error) error {
	if panicked != nil {
		c.log.Error(nil, "A call panicked", "method", c.method, "panic", panicked, "stack", string(debug.Stack()))
		err = status.Errorf(codes.Internal, "internal error in %s; see the driver's log", c.method)
	}
	code := status.Code(err)
	took := time.Since(c.began)
	if c.observe != nil {
		c.observe(c.method, code.String(), took)
	}
	report(c.log, c.method, req, code, err, took)
	return err
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
	if v, ok := req.(interface {
		GetBaseSnapshotId() string
		GetTargetSnapshotId() string
	}); ok {
		log = log.WithValues("snapshotID", v.GetTargetSnapshotId(), "baseID", v.GetBaseSnapshotId())
	}
	switch code {
	case codes.Internal, codes.Unknown, codes.DataLoss, codes.Unavailable:
		log.Error(err, "Call failed", "code", code.String(), "took", took)
	default:
		log.V(2).Info("Call refused", "code", code.String(), "took", took, "err", err)
	}
}
