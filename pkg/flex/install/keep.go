package install

import (
	"context"
	"errors"
	"time"

	"k8s.io/klog/v2"
)

// Keep installs, and looks again each time until ctx is done: what was changed or
// removed is repaired. The first look must succeed. It does not uninstall at its
// end: volumes of pods outlive it.
func (i *Installer) Keep(ctx context.Context, every time.Duration) error {
	log := klog.FromContext(ctx)
	all, err := i.Install(ctx)
	report(log, all)
	if err != nil {
		return err
	}
	log.Info("Drivers are installed", "dir", i.Dir, "vendor", i.Vendor, "drivers", i.Drivers)
	said := ""
	for next := time.NewTicker(every); ; {
		select {
		case <-ctx.Done():
			next.Stop()
			return nil
		case <-next.C:
		}
		all, err := i.Install(ctx)
		report(log, all)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, ErrRemoved):
			return err
		case err == nil:
			said = ""
		case err.Error() != said: // once, not each minute
			said = err.Error()
			log.Error(err, "A driver is not as it should be")
		}
	}
}

// Remove uninstalls, and tries again each time until nothing is in the way.
func (i *Installer) Remove(ctx context.Context, every time.Duration) error {
	log := klog.FromContext(ctx)
	said := ""
	for {
		all, err := i.Uninstall(ctx)
		report(log, all)
		if err == nil {
			log.Info("Drivers are uninstalled", "dir", i.Dir, "vendor", i.Vendor, "drivers", i.Drivers)
			return nil
		}
		if ctx.Err() == nil && err.Error() != said {
			said = err.Error()
			log.Info("Cannot uninstall yet", "reason", said)
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(every):
		}
	}
}

func report(log klog.Logger, all []Done) {
	for _, done := range all {
		if done.Settings || done.Program {
			log.Info("Installed driver", "driver", done.Driver, "program", done.Program, "settings", done.Settings)
		}
		if done.Removed {
			log.Info("Removed driver", "driver", done.Driver)
		}
		for _, note := range done.Notes {
			log.Info("Note", "driver", done.Driver, "note", note)
		}
	}
}
