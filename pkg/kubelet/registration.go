// Package kubelet registers the driver with the kubelet's plugin watcher, for
// nodes without a registrar sidecar.
//
// Source: k8s.io/kubelet/pkg/apis/pluginregistration/v1.
package kubelet

import (
	"context"
	"fmt"
	"path/filepath"

	"google.golang.org/grpc"
	"k8s.io/klog/v2"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// Registration answers the kubelet on a socket in its plugins_registry.
type Registration struct {
	registration.UnimplementedRegistrationServer
	driver, socket string
	failed         chan<- error
}

// New makes a registration of the driver, whose CSI socket is given as a path
// that the kubelet can reach. A refusal by the kubelet is sent to failed.
func New(driver, socket string, failed chan<- error) *Registration {
	return &Registration{driver: driver, socket: socket, failed: failed}
}

// SocketPath is where the registration listens, below the kubelet's
// plugins_registry.
func (r *Registration) SocketPath(registry string) string {
	return filepath.Join(registry, r.driver+"-reg.sock")
}

// Register adds the service to the server.
func (r *Registration) Register(server grpc.ServiceRegistrar) {
	registration.RegisterRegistrationServer(server, r)
}

// GetInfo implements registration.RegistrationServer.
func (r *Registration) GetInfo(context.Context, *registration.InfoRequest) (*registration.PluginInfo, error) {
	return &registration.PluginInfo{
		Type: registration.CSIPlugin, Name: r.driver, Endpoint: r.socket, SupportedVersions: []string{"1.0.0"},
	}, nil
}

// NotifyRegistrationStatus implements registration.RegistrationServer.
func (r *Registration) NotifyRegistrationStatus(ctx context.Context, s *registration.RegistrationStatus) (*registration.RegistrationStatusResponse, error) {
	if s.GetPluginRegistered() {
		klog.FromContext(ctx).Info("Registered with the kubelet", "driver", r.driver)
	} else {
		select {
		case r.failed <- fmt.Errorf("register with the kubelet: %s", s.GetError()):
		default:
		}
	}
	return &registration.RegistrationStatusResponse{}, nil
}
