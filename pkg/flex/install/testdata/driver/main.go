// Command driver is a small executable in two versions, for the tests.
package main

import "fmt"

var version = "1"

func main() { fmt.Printf("{\"status\":\"Success\",\"message\":%q}\n", version) }
