# The cluster's certificates and kubeconfigs; sourced by up.sh.
# shellcheck shell=bash disable=SC2154 # env.sh sets what is used here

make_authority() {
	mkdir -p "$run/pki"
	openssl ecparam -name prime256v1 -genkey -noout -out "$run/pki/ca.key" 2>/dev/null
	openssl req -x509 -new -key "$run/pki/ca.key" -subj /CN=hostvol-test -days 30 -out "$run/pki/ca.crt" 2>/dev/null
	openssl genrsa -out "$run/pki/service-accounts.key" 2048 2>/dev/null
}

# certificate NAME SUBJECT [ALTERNATIVE NAMES]
certificate() {
	local base=$run/pki/$1
	openssl ecparam -name prime256v1 -genkey -noout -out "$base.key"
	openssl req -new -key "$base.key" -subj "$2" -out "$base.csr"
	{
		echo extendedKeyUsage=serverAuth,clientAuth
		[ -z "${3:-}" ] || echo "subjectAltName=$3"
	} >"$base.ext"
	openssl x509 -req -in "$base.csr" -CA "$run/pki/ca.crt" -CAkey "$run/pki/ca.key" -CAcreateserial \
		-days 30 -out "$base.crt" -extfile "$base.ext" 2>/dev/null
}

# kubeconfig FILE CERTIFICATE
kubeconfig() {
	cat >"$1" <<-YAML
		apiVersion: v1
		kind: Config
		clusters: [{name: hostvol, cluster: {server: "https://$service_address:443", certificate-authority: $run/pki/ca.crt}}]
		users: [{name: me, user: {client-certificate: $run/pki/$2.crt, client-key: $run/pki/$2.key}}]
		contexts: [{name: hostvol, context: {cluster: hostvol, user: me}}]
		current-context: hostvol
	YAML
}
