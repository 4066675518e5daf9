#include "testing/certificates.h"

#include <memory>

#include <arpa/inet.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

namespace apogee::testing {
namespace {

using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;
using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;

template <class Write>
std::string pem(Write write) {
  BIO* const bio = BIO_new(BIO_s_mem());
  write(bio);
  char* text = nullptr;
  const long size = BIO_get_mem_data(bio, &text);
  std::string out(text, static_cast<std::size_t>(size));
  BIO_free(bio);
  return out;
}

void extend(X509* certificate, int what, const std::string& value) {
  X509_EXTENSION* const extension = X509V3_EXT_conf_nid(nullptr, nullptr, what, value.c_str());
  X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
}

Certificate make_certificate(const std::string& name, EVP_PKEY* key) {
  static long serial = 0;
  Certificate made{X509_new(), X509_free};
  X509_set_version(made.get(), 2);
  ASN1_INTEGER_set(X509_get_serialNumber(made.get()), ++serial);
  X509_gmtime_adj(X509_getm_notBefore(made.get()), -3'600);
  X509_gmtime_adj(X509_getm_notAfter(made.get()), 86'400);
  X509_set_pubkey(made.get(), key);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(made.get()), "CN", MBSTRING_UTF8,
                             reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
  return made;
}

Identity written(X509* certificate, EVP_PKEY* key, const std::string& password) {
  return {pem([&](BIO* to) { PEM_write_bio_X509(to, certificate); }), pem([&](BIO* to) {
            PEM_write_bio_PKCS8PrivateKey(to, key, password.empty() ? nullptr : EVP_aes_256_cbc(),
                                          password.data(), static_cast<int>(password.size()),
                                          nullptr, nullptr);
          })};
}

}  // namespace

Identity make_authority(const std::string& name) {
  const Key key{EVP_EC_gen("P-256"), EVP_PKEY_free};
  const Certificate made = make_certificate(name, key.get());
  X509_set_issuer_name(made.get(), X509_get_subject_name(made.get()));
  extend(made.get(), NID_basic_constraints, "critical,CA:TRUE");
  X509_sign(made.get(), key.get(), EVP_sha256());
  return written(made.get(), key.get(), {});
}

Identity issue(const Identity& authority, const std::string& host, const std::string& password) {
  const auto bio_of = [](const std::string& text) {
    return std::unique_ptr<BIO, decltype(&BIO_free)>{
        BIO_new_mem_buf(text.data(), static_cast<int>(text.size())), BIO_free};
  };
  const Certificate issuer{
      PEM_read_bio_X509(bio_of(authority.certificate).get(), nullptr, nullptr, nullptr), X509_free};
  const Key signer{PEM_read_bio_PrivateKey(bio_of(authority.key).get(), nullptr, nullptr, nullptr),
                   EVP_PKEY_free};
  const Key key{EVP_EC_gen("P-256"), EVP_PKEY_free};
  const Certificate made = make_certificate(host, key.get());
  X509_set_issuer_name(made.get(), X509_get_subject_name(issuer.get()));
  in6_addr address{};
  const bool numeric = inet_pton(AF_INET, host.c_str(), &address) == 1;
  extend(made.get(), NID_subject_alt_name, (numeric ? "IP:" : "DNS:") + host);
  X509_sign(made.get(), signer.get(), EVP_sha256());
  return written(made.get(), key.get(), password);
}

}  // namespace apogee::testing
