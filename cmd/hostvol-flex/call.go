package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"k8s.io/klog/v2"

	"github.com/hostvol/hostvol/pkg/flex"
	"github.com/hostvol/hostvol/pkg/flex/cifs"
	"github.com/hostvol/hostvol/pkg/flex/local"
	"github.com/hostvol/hostvol/pkg/flex/lvm"
	"github.com/hostvol/hostvol/pkg/flex/nfs"
	"github.com/hostvol/hostvol/pkg/flex/settings"
	"github.com/hostvol/hostvol/pkg/host/stdio"
)

// drivers are the names under which the program is a driver.
func drivers() []string { return []string{"cifs", "local", "lvm", "nfs"} }

// backend is the driver of a name.
func backend(name string, s settings.Settings) (flex.Backend, error) {
	switch name {
	case "cifs":
		return cifs.Backend{}, nil
	case "local":
		return local.New(s.Socket), nil
	case "lvm":
		return lvm.New(s.LVM), nil
	case "nfs":
		return nfs.Backend{}, nil
	}
	return nil, fmt.Errorf("hostvol-flex has no driver %q; it must be installed as one of %s", name, strings.Join(drivers(), ", "))
}

// call serves one call of the kubelet, and returns the exit status. Whatever
// happens, one JSON object is all that it prints.
func call(path, name string, args []string) int {
	out, err := stdio.Seize()
	if out == nil {
		return 1
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer stop()
	var reply flex.Reply
	closeLog := func() {}
	if err == nil {
		reply, closeLog, err = answer(ctx, path, name, args)
	}
	if err != nil {
		reply = flex.Fail(err)
	}
	code := reply.Code()
	if err := reply.Write(out); err != nil && !reply.Quiet() {
		code = 1
	}
	_ = out.Close() // the kubelet has its answer
	closeLog()
	return code
}

// answer serves a call. closeLog is never nil.
func answer(ctx context.Context, path, name string, args []string) (reply flex.Reply, closeLog func(), err error) {
	closeLog = func() {}
	defer func() {
		if r := recover(); r != nil { // its text may hold what the arguments do
			err = fmt.Errorf("a fault in hostvol-flex itself (%T); please report it", r)
		}
	}()
	s, err := settings.Read(filepath.Dir(path))
	if err != nil {
		return reply, closeLog, err
	}
	log, closeLog := openLog(s.Log)
	b, err := backend(name, s)
	if err != nil {
		return reply, closeLog, err
	}
	targets := flex.Targets{KubeletDir: s.KubeletDir}
	if filepath.Base(path) == name { // the kubelet's name for it is that of its directory
		targets.Driver = filepath.Base(filepath.Dir(path))
	}
	d := flex.Driver{Name: name, Backend: b, Targets: targets, Timeout: s.Timeout.Duration}
	return d.Call(klog.NewContext(ctx, log), args), closeLog, nil
}
