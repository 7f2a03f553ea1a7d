"""What kinds of entries mean, in words, for whoever reads a story. A kind without any is shown by its name alone."""

from __future__ import annotations

from collections.abc import Mapping

from diwan.domain.text import Localized

WORDS: Mapping[str, Localized] = {
    "case:erasure:asked": Localized(
        ar="طُلب محو معطيات الملف",
        fr="L’effacement des données du dossier est demandé",
        en="Erasure of the case's data was asked for",
    ),
    "case:erasure:approved": Localized(
        ar="وافق شخص آخر على المحو",
        fr="Une autre personne a approuvé l’effacement",
        en="Another person approved the erasure",
    ),
    "case:erasure:declined": Localized(
        ar="رُفض طلب المحو",
        fr="La demande d’effacement est refusée",
        en="The erasure was declined",
    ),
    "case:erasure:started": Localized(
        ar="بدأ إتلاف مفاتيح الملف",
        fr="La destruction des clés du dossier a commencé",
        en="Destroying the case's keys began",
    ),
    "case:keys:destroyed": Localized(
        ar="أُتلفت المفاتيح: ما كانت تحميه مُحي نهائيا",
        fr="Les clés sont détruites : ce qu’elles protégeaient est effacé pour toujours",
        en="The keys are destroyed: what they sealed is erased for good",
    ),
    "scope:erasure:started": Localized(
        ar="بدأ إتلاف مفاتيح ما لا ينتمي إلى أي ملف",
        fr="La destruction des clés de ce qui n’est d’aucun dossier a commencé",
        en="Destroying the keys of what belongs to no case began",
    ),
    "scope:keys:destroyed": Localized(
        ar="أُتلفت المفاتيح: ما كانت تحميه خارج الملفات مُحي نهائيا",
        fr="Les clés sont détruites : ce qu’elles protégeaient hors de tout dossier est effacé pour toujours",
        en="The keys are destroyed: what they sealed outside any case is erased for good",
    ),
    "case:hold:placed": Localized(
        ar="وُضع الملف تحت حفظ قانوني: لا يُمحى منه شيء",
        fr="Le dossier est placé sous conservation légale : rien n’en est effacé",
        en="A legal hold was put on the case: nothing of it is erased",
    ),
    "case:hold:lifted": Localized(
        ar="رُفع الحفظ القانوني",
        fr="La conservation légale est levée",
        en="The legal hold was lifted",
    ),
    "vault:key:begun": Localized(
        ar="بدأ استعمال مفتاح جديد يحمي مفاتيح الملفات",
        fr="Une nouvelle clé enveloppe désormais les clés des dossiers",
        en="A new key wraps the cases' keys from now on",
    ),
    "vault:key:retired": Localized(
        ar="أُتلف مفتاح كان يحمي مفاتيح الملفات",
        fr="Une clé qui enveloppait les clés des dossiers est détruite",
        en="A key that wrapped the cases' keys is destroyed",
    ),
    "ministry:export:begun": Localized(
        ar="بدأ تصدير كل ما يُحفظ عن الوزارة",
        fr="L’export de tout ce qui est conservé du ministère a commencé",
        en="The export of all that is kept of the ministry began",
    ),
    "ministry:export:ended": Localized(
        ar="صُدّر كل ما يُحفظ عن الوزارة",
        fr="Tout ce qui est conservé du ministère est exporté",
        en="All that is kept of the ministry was exported",
    ),
    "case:history:kept": Localized(
        ar="حُفظ سجل ما نفّذه النظام في هذا الملف",
        fr="L’historique de ce que le système a exécuté est conservé",
        en="The history of what the system carried out was kept",
    ),
    "case:history:lost": Localized(
        ar="تعذّر حفظ سجل ما نفّذه النظام: لم يعد موجودا",
        fr="L’historique de ce que le système a exécuté n’a pu être conservé : il n’existe plus",
        en="The history of what the system carried out could not be kept: it is gone",
    ),
}
