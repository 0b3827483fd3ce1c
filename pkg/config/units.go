package config

import (
	"encoding/json"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
)

// Size is written as "500Gi", "1.5Ti" and so on, as in Kubernetes.
type Size struct{ resource.Quantity }

// UnmarshalJSON implements json.Unmarshaler.
func (s *Size) UnmarshalJSON(data []byte) error {
	if err := s.Quantity.UnmarshalJSON(data); err != nil {
		return fmt.Errorf("%s is not a size such as \"500Gi\"", data)
	}
	return nil
}

// Duration is written as "90s", "24h" and so on.
type Duration struct{ time.Duration }

// UnmarshalJSON implements json.Unmarshaler.
func (d *Duration) UnmarshalJSON(data []byte) error {
	var text string
	err := json.Unmarshal(data, &text)
	if err == nil {
		d.Duration, err = time.ParseDuration(text)
	}
	if err != nil {
		return fmt.Errorf("%s is not a duration such as \"24h\"", data)
	}
	return nil
}

// MarshalJSON implements json.Marshaler.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(d.String()) }
