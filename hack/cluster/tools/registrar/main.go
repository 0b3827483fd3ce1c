// Command registrar stands in for node-driver-registrar in the test cluster,
// where that one's image cannot be had. It takes the same flags and does the
// same for the kubelet: it asks the driver for its name, and serves the plugin
// registration service on <plugin-registration-path>/<name>-reg.sock.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

func main() {
	csiAddress := flag.String("csi-address", "/run/csi/socket", "the driver's socket, as seen from here")
	kubeletPath := flag.String("kubelet-registration-path", "", "the driver's socket, as seen from the kubelet")
	directory := flag.String("plugin-registration-path", "/registration", "the kubelet's plugins_registry")
	timeout := flag.Duration("timeout", time.Second, "of one call to the driver")
	flag.String("http-endpoint", "", "taken and not served")
	flag.Int("v", 0, "taken and not used")
	flag.Parse()
	if *kubeletPath == "" {
		log.Fatal("--kubelet-registration-path is missing")
	}
	name, err := driverName(*csiAddress, *timeout)
	if err != nil {
		log.Fatal(err)
	}
	if err := serve(filepath.Join(*directory, name+"-reg.sock"), &server{name: name, endpoint: *kubeletPath}); err != nil {
		log.Fatal(err)
	}
}

// driverName waits until the driver answers.
func driverName(address string, timeout time.Duration) (string, error) {
	conn, err := grpc.NewClient("unix:"+address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return "", fmt.Errorf("connect to %s: %w", address, err)
	}
	defer conn.Close()
	for {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		info, err := csi.NewIdentityClient(conn).GetPluginInfo(ctx, &csi.GetPluginInfoRequest{}, grpc.WaitForReady(true))
		cancel()
		if err == nil {
			return info.GetName(), nil
		}
		log.Printf("waiting for %s: %v", address, err)
		time.Sleep(100 * time.Millisecond)
	}
}

// serve ends when the process is told to, and removes the socket then.
func serve(socket string, s *server) error {
	if err := os.Remove(socket); err != nil && !os.IsNotExist(err) {
		return err
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	g := grpc.NewServer()
	registration.RegisterRegistrationServer(g, s)
	go func() {
		<-ctx.Done()
		g.Stop()
	}()
	log.Printf("serving %s for %s", socket, s.name)
	return g.Serve(listener)
}

type server struct {
	registration.UnsafeRegistrationServer
	name, endpoint string
}

func (s *server) GetInfo(context.Context, *registration.InfoRequest) (*registration.PluginInfo, error) {
	return &registration.PluginInfo{
		Type: registration.CSIPlugin, Name: s.name, Endpoint: s.endpoint, SupportedVersions: []string{"1.0.0"},
	}, nil
}

// NotifyRegistrationStatus ends the process when the kubelet refuses, so that
// the next start tries again.
func (s *server) NotifyRegistrationStatus(_ context.Context, r *registration.RegistrationStatus) (*registration.RegistrationStatusResponse, error) {
	log.Printf("registered: %t %s", r.GetPluginRegistered(), r.GetError())
	if !r.GetPluginRegistered() {
		os.Exit(1)
	}
	return &registration.RegistrationStatusResponse{}, nil
}
